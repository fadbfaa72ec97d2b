using System.Diagnostics;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Makes files that are not regular, for Linux.</summary>
internal static class SpecialFile
{
    public static string Fifo(string path)
    {
        Assert.SkipUnless(LinuxNative.IsSupported, "FIFOs are made on Linux");
        using Process process = Process.Start("mkfifo", [path]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return path;
    }

    public static string HardLink(string path, string target)
    {
        Assert.SkipUnless(LinuxNative.IsSupported, "Hard links are made on Linux");
        using Process process = Process.Start("ln", ["--", target, path]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return path;
    }
}
