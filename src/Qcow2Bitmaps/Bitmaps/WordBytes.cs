using System.Buffers;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>Shows memory of words as memory of bytes, so that storage can read straight into it.</summary>
internal sealed class WordBytes(Memory<ulong> words) : MemoryManager<byte>
{
    public override Span<byte> GetSpan() => MemoryMarshal.AsBytes(words.Span);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        MemoryHandle handle = words.Pin();
        unsafe
        {
            return new MemoryHandle((byte*)handle.Pointer + elementIndex, default, new Unpinner(handle));
        }
    }

    public override void Unpin()
    {
        // Each handle that Pin returns releases its own pin.
    }

    protected override void Dispose(bool disposing)
    {
        // Owns nothing.
    }

    /// <summary>Ends the pinning of the words when the handle on the bytes is disposed.</summary>
    private sealed class Unpinner(MemoryHandle handle) : IPinnable
    {
        public MemoryHandle Pin(int elementIndex) => throw new InvalidOperationException("Made for unpinning only");

        public void Unpin() => handle.Dispose();
    }
}
