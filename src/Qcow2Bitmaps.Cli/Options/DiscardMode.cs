namespace Qcow2Bitmaps.Cli.Options;

/// <summary>What becomes of the space of clusters that an image no longer uses; QEMU's <c>discard</c> option has the same values.</summary>
internal enum DiscardMode
{
    Unmap,
    Ignore,
}
