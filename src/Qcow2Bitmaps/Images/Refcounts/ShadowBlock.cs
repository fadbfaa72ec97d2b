namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>A refcount block as <see cref="ShadowRefcounts"/> has it in memory.</summary>
internal sealed class ShadowBlock(long index, byte[] bytes)
{
    /// <summary>Which block of the table this is.</summary>
    public long Index { get; } = index;

    /// <summary>The counts as they are to be.</summary>
    public byte[] Bytes { get; } = bytes;

    /// <summary>Whether the bytes differ from what stands on disk.</summary>
    public bool IsChanged { get; set; }

    /// <summary>Whether the block was used since somebody last looked for one to drop.</summary>
    public bool WasUsed { get; set; }
}
