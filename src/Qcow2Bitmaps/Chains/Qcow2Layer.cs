using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>A qcow2 image of a chain.</summary>
public sealed class Qcow2Layer : ChainLayer
{
    internal Qcow2Layer(
        int index, ImageStorage storage, Qcow2Image image, bool isFormatProbed, bool isOpenForWritingElsewhere, long? sizeBytes = null)
        : base(index, storage, isFormatProbed, isOpenForWritingElsewhere, sizeBytes ?? image.VirtualSizeBytes) => Image = image;

    /// <summary>The image.</summary>
    public Qcow2Image Image { get; }

    /// <inheritdoc/>
    public override string Format => ImageFormat.Qcow2;

    /// <inheritdoc/>
    public override IEnumerable<BitmapInfo> Bitmaps => Image.Bitmaps;

    /// <inheritdoc/>
    public override bool HasIgnoredBitmaps => Image.Findings.Any(static finding => finding.Code == FaultCode.BitmapsExtensionAutoclearOff);

    /// <inheritdoc/>
    public override Qcow2Image RequireImage() => Image;

    /// <inheritdoc/>
    public override bool Holds(string bitmap) => Image.Bitmaps.TryGet(bitmap, out _);

    internal override ChainLayer At(int index) => new Qcow2Layer(index, Storage, Image, IsFormatProbed, IsOpenForWritingElsewhere);
}
