using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>A qcow2 image of a chain.</summary>
public sealed class Qcow2Layer : ChainLayer
{
    internal Qcow2Layer(
        int index, ImageStorage storage, Qcow2Image image, bool isFormatProbed, bool isOpenForWritingElsewhere, long? sizeBytes = null)
        : base(index, storage, isFormatProbed, isOpenForWritingElsewhere, sizeBytes ?? image.VirtualSizeBytes) => Image = image;

    /// <summary>The image, closed with the chain.</summary>
    public Qcow2Image Image { get; }

    internal override ChainLayer At(int index) => new Qcow2Layer(index, Storage, Image, IsFormatProbed, IsOpenForWritingElsewhere);
}
