using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>One image of a chain: a <see cref="Qcow2Layer"/> or a <see cref="RawLayer"/>. As thread-safe as its chain.</summary>
public abstract class ChainLayer
{
    private protected ChainLayer(
        int index, ImageStorage storage, bool isFormatProbed, bool isOpenForWritingElsewhere, long virtualSizeBytes)
    {
        Index = index;
        Storage = storage;
        IsFormatProbed = isFormatProbed;
        IsOpenForWritingElsewhere = isOpenForWritingElsewhere;
        VirtualSizeBytes = virtualSizeBytes;
    }

    /// <summary>The layer's index; the top image is 0.</summary>
    public int Index { get; }

    /// <summary>The path by which the chain opened it.</summary>
    public string Path => Storage.Name;

    /// <summary>Whether it is a block device, which can neither grow nor be deleted like a file.</summary>
    internal bool IsFixedSize => Storage.CapacityBytes is not null;

    /// <summary>Whether it is open for writing.</summary>
    public bool IsWritable => Storage.CanWrite;

    /// <summary>The format: <c>qcow2</c> or <c>raw</c>.</summary>
    public string Format => this is RawLayer ? ImageFormat.Raw : ImageFormat.Qcow2;

    /// <summary>The disk's size in bytes.</summary>
    public long VirtualSizeBytes { get; }

    /// <summary>The bitmaps that it holds; a raw image holds none.</summary>
    public IEnumerable<BitmapInfo> Bitmaps => Image?.Bitmaps ?? Enumerable.Empty<BitmapInfo>();

    /// <summary>
    /// Whether the format was not stated, but probed from the first bytes. The guest of a raw disk can write a qcow2 header there.
    /// </summary>
    public bool IsFormatProbed { get; }

    /// <summary>
    /// Whether another process had the image open for writing when the chain was opened; then its
    /// <c>in-use</c> flags are as they should be.
    /// </summary>
    public bool IsOpenForWritingElsewhere { get; }

    /// <summary>How many bytes the file occupies on disk; null when unknown.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public long? AllocatedBytes => Storage.AllocatedBytes;

    /// <summary>
    /// Whether the image has bitmaps that QEMU ignores because a program without bitmap support wrote to the image. A strict reader does
    /// not list them, so that the image counts as one without bitmaps. A lenient one lists them as inconsistent.
    /// </summary>
    public bool HasIgnoredBitmaps =>
        Image is { } image && image.Findings.Any(static finding => finding.Code == FaultCode.BitmapsExtensionAutoclearOff);

    internal ImageStorage Storage { get; }

    /// <summary>The image; null of a raw one.</summary>
    private Qcow2Image? Image => (this as Qcow2Layer)?.Image;

    /// <summary>The qcow2 image; throws if the layer is raw.</summary>
    /// <exception cref="Qcow2UnsupportedException">It is raw.</exception>
    public Qcow2Image RequireImage() =>
        Image ?? throw new Qcow2UnsupportedException(UnsupportedReason.Format, $"'{Path}' is raw");

    /// <summary>Whether it holds a bitmap with the given name.</summary>
    /// <param name="bitmap">The name.</param>
    public bool Holds(string bitmap) => Image is { } image && image.Bitmaps.TryGet(bitmap, out _);

    /// <summary>The index and the path, made safe to display.</summary>
    public override string ToString() => PrintableMessage.Of($"image {Index} ({Path})");

    /// <summary>
    /// The name under which another image should store this one: the chosen name if it leads to this file, otherwise a computed one.
    /// </summary>
    /// <exception cref="IOException">No name leads to this file, or the chosen name leads to another file.</exception>
    internal string NameIn(string imagePath, string? chosen) => chosen is null
        ? StoredName.Of(Path, Storage.Key, imagePath)
        : StoredName.Chosen(chosen, Storage.Key, imagePath);

    /// <summary>The same layer at another index of a chain.</summary>
    internal abstract ChainLayer At(int index);
}
