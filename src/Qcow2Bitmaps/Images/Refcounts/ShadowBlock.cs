namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>A refcount block in the memory of <see cref="ShadowRefcounts"/>.</summary>
internal sealed class ShadowBlock(long index, byte[] bytes)
{
    /// <summary>The block's index in the table.</summary>
    public long Index { get; } = index;

    /// <summary>The new counts.</summary>
    public byte[] Bytes { get; } = bytes;

    /// <summary>Whether the bytes differ from those on disk.</summary>
    public bool IsChanged { get; set; }

    /// <summary>Whether the block was used since the last search for blocks to drop.</summary>
    public bool WasUsed { get; set; }
}
