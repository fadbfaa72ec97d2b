using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A header as opening an image takes it.</summary>
internal static class CheckedHeader
{
    /// <summary>Reads a header and checks it as QEMU does.</summary>
    /// <exception cref="Qcow2FormatException">The bytes are no header, or one that is not allowed.</exception>
    public static Qcow2Header Read(ReadOnlySpan<byte> source, Qcow2Limits? limits = null)
    {
        bool isRead = Qcow2Header.TryRead(source, out Qcow2Header? header, out FormatFault? fault);
        fault = isRead ? header!.Check(limits ?? Qcow2Limits.Default) : fault;
        return fault is null ? header! : throw new Qcow2FormatException(fault);
    }
}
