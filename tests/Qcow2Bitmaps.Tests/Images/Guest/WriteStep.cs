using System.Globalization;
using FsCheck;
using FsCheck.Fluent;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>Something that is done to a disk. Places are in thousandths of the disk, rounded to sectors, so that they fit any.</summary>
internal sealed record WriteStep(WriteAction Action, int Place, int Sectors, byte Pattern, bool IsAligned)
{
    private const int PageBits = 12;

    public static Gen<WriteStep> Generator { get; } =
        from action in Gen.Frequency(
            (6, Gen.Constant(WriteAction.Write)),
            (3, Gen.Constant(WriteAction.Zero)),
            (2, Gen.Constant(WriteAction.ZeroUnmap)),
            (3, Gen.Constant(WriteAction.Discard)),
            (3, Gen.Constant(WriteAction.Compressed)),
            (1, Gen.Constant(WriteAction.Flush)),
            (1, Gen.Constant(WriteAction.Reopen)))
        from place in Gen.Choose(0, 999)
        from sectors in Gen.Frequency((3, Gen.Choose(1, 16)), (3, Gen.Choose(1, 200)), (1, Gen.Choose(1, 2000)))
        from pattern in Gen.Choose(1, 255)
        from isAligned in Gen.Elements(true, false)
        select new WriteStep(action, place, sectors, (byte)pattern, isAligned);

    /// <summary>The range on a disk.</summary>
    public (long Offset, int Length) RangeOn(long sizeBytes, int clusterBytes)
    {
        long offset = sizeBytes * Place / 1000 / 512 * 512;
        long length = Sectors * 512L;
        if (Action == WriteAction.Compressed || IsAligned)
        {
            offset = offset / clusterBytes * clusterBytes;
            length = Action == WriteAction.Compressed ? clusterBytes : (length + clusterBytes - 1) / clusterBytes * clusterBytes;
        }

        return (offset, (int)Math.Min(length, sizeBytes - offset));
    }

    /// <summary>The bytes that a write has: pages differ from their neighbours, and compress well.</summary>
    public byte[] Content(long offset, int length)
    {
        var content = new byte[length];
        for (int i = 0; i < length; i++)
        {
            content[i] = PatternAt(offset + i);
        }

        return content;
    }

    /// <summary>The byte at a place of the disk.</summary>
    public byte PatternAt(long offset) => (byte)((Pattern + (offset >> PageBits)) & 0xff);

    /// <summary>Where the byte at a place changes.</summary>
    public static long EndOfPattern(long offset) => ((offset >> PageBits) + 1) << PageBits;

    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture, $"{Action} at {Place} of 1000, {Sectors} sectors{(IsAligned ? ", aligned" : "")}, {Pattern}");
}
