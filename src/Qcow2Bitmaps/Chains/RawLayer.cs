using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>A raw file or device of a chain. It is the lowest image, as it has no backing file.</summary>
public sealed class RawLayer : ChainLayer
{
    internal RawLayer(int index, ImageStorage storage, bool isFormatProbed, bool isOpenForWritingElsewhere)
        : base(index, storage, isFormatProbed, isOpenForWritingElsewhere, RawDisk.SizeOf(storage)) => Disk = new RawDisk(storage);

    internal RawDisk Disk { get; }

    internal override ChainLayer At(int index) => new RawLayer(index, Storage, IsFormatProbed, IsOpenForWritingElsewhere);
}
