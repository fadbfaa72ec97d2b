using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Looks at which files this process has open.</summary>
internal static class OpenFiles
{
    private const string Descriptors = "/proc/self/fd";

    /// <summary>The files below a folder that are open now, and how often.</summary>
    public static IEnumerable<string> Below(string folder) => Directory.EnumerateFiles(Descriptors)
        .Select(static link => new FileInfo(link).LinkTarget)
        .OfType<string>()
        .Where(target => target.StartsWith(folder + "/", StringComparison.Ordinal))
        .Order(StringComparer.Ordinal);

    /// <summary>Skips the running test where descriptors cannot be listed.</summary>
    public static void Require() => Assert.SkipUnless(LinuxNative.IsSupported, "Linux lists a process's open files");
}
