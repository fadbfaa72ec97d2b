namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A bitmap that <see cref="TestImage"/> has stored, and where.</summary>
internal sealed record TestBitmap(byte[] Name, int GranularityBits, BitmapFlags Flags, int TableOffset, int TableEntries)
{
    /// <summary>Where the bitmap's directory entry starts, from the start of the directory.</summary>
    public int EntryOffsetInDirectory { get; set; }
}
