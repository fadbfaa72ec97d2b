using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>A bitmap that an image must have.</summary>
internal sealed record ModelBitmap(string Name, long GranularityBytes, bool IsRecording, bool IsInconsistent, ModelBits Bits)
{
    /// <summary>As lists show it, without bits.</summary>
    public StoredBitmap Listed => new(
        Name, GranularityBytes,
        (IsRecording ? BitmapFlags.Auto : BitmapFlags.None) | (IsInconsistent ? BitmapFlags.InUse : BitmapFlags.None), "");
}
