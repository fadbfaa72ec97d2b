using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Memory between two pages that nobody may touch: what reads or writes outside of it ends the process.</summary>
internal sealed unsafe partial class GuardedMemory : IDisposable
{
    private const int PageBytes = 4096;
    private const int NoAccess = 0;
    private const int ReadWrite = 3;
    private const int PrivateAnonymous = 0x22;

    private readonly byte* _start;
    private readonly int _length;

    public GuardedMemory(int atLeastBytes)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Guarded memory is made on Linux");
        _length = (atLeastBytes + PageBytes - 1) / PageBytes * PageBytes;
        _start = (byte*)Map(0, (nuint)(_length + (2 * PageBytes)), NoAccess, PrivateAnonymous, -1, 0);
        Assert.NotEqual(-1, (nint)_start);
        Assert.Equal(0, Protect(_start + PageBytes, (nuint)_length, ReadWrite));
    }

    /// <summary>Memory with a forbidden page right before it.</summary>
    public Span<byte> AtStart(int length) => new(_start + PageBytes, length);

    /// <summary>Memory with a forbidden page right behind it.</summary>
    public Span<byte> AtEnd(int length) => new(_start + PageBytes + _length - length, length);

    public void Dispose() => Unmap(_start, (nuint)(_length + (2 * PageBytes)));

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(byte* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial void Unmap(byte* address, nuint length);
}
