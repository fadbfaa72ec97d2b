using Qcow2Bitmaps.Tests.Bitmaps;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>The bits that a bitmap must have: an array of truth values as long as that is small, else a bitmap in memory.</summary>
internal sealed class ModelBits
{
    private const int MaxNaiveBits = 100_000;

    private readonly NaiveBitmap? _naive;

    public ModelBits(long sizeBytes, long granularityBytes)
    {
        InMemory = new DirtyBitmap(sizeBytes, granularityBytes);
        _naive = InMemory.BitCount <= MaxNaiveBits ? new NaiveBitmap(sizeBytes, granularityBytes) : null;
    }

    /// <summary>The same bits as the library has them.</summary>
    public DirtyBitmap InMemory { get; }

    public ModelBits Clone()
    {
        var copy = new ModelBits(InMemory.SizeBytes, InMemory.GranularityBytes);
        copy.Merge(this);
        return copy;
    }

    public void Set(long offsetBytes, long lengthBytes)
    {
        InMemory.Set(offsetBytes, lengthBytes);
        _naive?.Set(offsetBytes, lengthBytes);
    }

    public void Clear(long offsetBytes, long lengthBytes)
    {
        InMemory.Clear(offsetBytes, lengthBytes);
        _naive?.Clear(offsetBytes, lengthBytes);
    }

    public void Merge(ModelBits source)
    {
        InMemory.Merge(source.InMemory);
        if (_naive is not null && source._naive is not null)
        {
            _naive.Merge(source._naive);
        }
        else if (_naive is not null)
        {
            foreach (DirtyExtent extent in source.InMemory.Extents())
            {
                _naive.Set(extent.OffsetBytes, extent.LengthBytes);
            }
        }
    }

    /// <summary>The bits as an image has them: the least significant bit first.</summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[(InMemory.BitCount + 7) / 8];
        foreach (DirtyExtent extent in Extents().Where(static extent => extent.IsDirty))
        {
            for (long bit = extent.OffsetBytes / InMemory.GranularityBytes; bit * InMemory.GranularityBytes < extent.EndBytes; bit++)
            {
                bytes[bit / 8] |= (byte)(1 << (int)(bit % 8));
            }
        }

        return bytes;
    }

    public IReadOnlyList<DirtyExtent> Extents() => _naive?.Extents() ?? [.. InMemory.Extents(includeClean: true)];
}
