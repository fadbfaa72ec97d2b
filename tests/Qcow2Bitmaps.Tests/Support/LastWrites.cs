using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>When files were written last, to the nanosecond, in nanoseconds since 1970: journals compare that.</summary>
internal static unsafe partial class LastWrites
{
    private const int CurrentFolder = -100;
    private const long NanosecondsPerSecond = 1_000_000_000;

    public static Int128 Of(string path)
    {
        using SafeFileHandle file = LinuxFile.OpenPathOnly(path);
        LinuxNative.FileFacts facts = LinuxFile.Facts(file, path);
        return ((Int128)facts.LastWriteSeconds * NanosecondsPerSecond) + facts.LastWriteNanoseconds;
    }

    public static void Set(string path, Int128 nanoseconds)
    {
        long* times = stackalloc long[4];
        times[0] = times[2] = (long)(nanoseconds / NanosecondsPerSecond);
        times[1] = times[3] = (long)(nanoseconds % NanosecondsPerSecond);
        Assert.Equal(0, SetTimes(CurrentFolder, path, times, 0));
    }

    [LibraryImport("libc", EntryPoint = "utimensat", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int SetTimes(int folder, string path, long* times, int flags);
}
