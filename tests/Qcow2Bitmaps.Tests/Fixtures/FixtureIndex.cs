using System.Globalization;

namespace Qcow2Bitmaps.Tests.Fixtures;

/// <summary>Lists every fixture that <c>fixtures/make-fixtures.sh</c> builds.</summary>
public static partial class FixtureIndex
{
    // 10 MiB and one sector: no multiple of any granularity above 512 bytes.
    private const long OddSize = 10_486_272;

    // 1 MiB and one sector.
    private const long SmallSize = 1_049_088;

    private static FixtureBitmap Auto(string name, long granularity) =>
        new(name, granularity, IsAuto: true, IsInUse: false);

    private static FixtureBitmap Disabled(string name, long granularity) =>
        new(name, granularity, IsAuto: false, IsInUse: false);

    private static FixtureBitmap InUse(string name, long granularity) =>
        new(name, granularity, IsAuto: true, IsInUse: true);

    private static FixtureBitmap InUseDisabled(string name, long granularity) =>
        new(name, granularity, IsAuto: false, IsInUse: true);

    private static FixtureBitmap OneOfForty(int number)
    {
        string name = string.Create(CultureInfo.InvariantCulture, $"bitmap-{number:D2}");
        return number % 10 == 0 ? Disabled(name, 16_384) : Auto(name, 16_384);
    }
}
