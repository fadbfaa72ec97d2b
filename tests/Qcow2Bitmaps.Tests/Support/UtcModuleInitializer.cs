using System.Runtime.CompilerServices;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The golden outputs show times in UTC: so must this process, wherever it runs.</summary>
internal static class UtcModuleInitializer
{
    [ModuleInitializer]
    internal static void UseUtc() => Environment.SetEnvironmentVariable("TZ", "UTC");
}
