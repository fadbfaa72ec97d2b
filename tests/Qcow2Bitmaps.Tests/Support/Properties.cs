using System.Globalization;
using FsCheck;
using FsCheck.Fluent;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Runs a body on many generated cases; an assertion that fails in one shows the case.</summary>
internal static class Properties
{
    /// <summary>How many times as many cases as usual are asked for.</summary>
    public static int Factor { get; } = int.TryParse(
        Environment.GetEnvironmentVariable("QCOW2BITMAPS_SEQUENCES"), CultureInfo.InvariantCulture, out int factor)
        ? factor
        : 1;

    public static void ForAll<T>(Gen<T> cases, int count, Action<T> body) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(count).WithEndSize(60), Prop.ForAll(cases.ToArbitrary(), body));
}
