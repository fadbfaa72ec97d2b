using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>A set of changes to the first cluster that take effect atomically.</summary>
/// <remarks>Every change also clears unknown autoclear bits, as the specification requires of every writer; an empty change does only that.
/// A change concerns either the bitmaps or the backing file.</remarks>
internal sealed class HeaderChange
{
    /// <summary>The longest backing file format, in bytes: QEMU does not open an image with a longer one.</summary>
    public const int MaxBackingFormatBytes = 15;

    /// <summary>The autoclear bits that this library knows. Spec: "autoclear_features".</summary>
    public const AutoclearFeatures KnownAutoclear = AutoclearFeatures.Bitmaps | AutoclearFeatures.RawExternalData;

    private readonly List<(int Field, byte[] Value)> _fields = [];

    /// <summary>Whether the bitmaps extension changes or is removed.</summary>
    public bool ChangesBitmaps { get; private set; }

    /// <summary>The new bitmaps extension; null for no bitmaps.</summary>
    public BitmapsExtension? Bitmaps { get; private set; }

    /// <summary>The format of the new or the removed backing file; null if the backing file does not change.</summary>
    public byte[]? BackingFormat { get; private set; }

    /// <summary>The new backing file name; null for no backing file.</summary>
    public byte[]? BackingFile { get; private set; }

    public HeaderChange SetVirtualSize(long bytes) => Set(HeaderLayout.VirtualSize, (ulong)bytes);

    public HeaderChange SetL1Table(ulong offset, uint entries) => Set(HeaderLayout.L1TableOffset, offset).Set(HeaderLayout.L1Size, entries);

    public HeaderChange SetRefcountTable(ulong offset, uint clusters) =>
        Set(HeaderLayout.RefcountTableOffset, offset).Set(HeaderLayout.RefcountTableClusters, clusters);

    public HeaderChange SetSnapshots(ulong offset, uint count) =>
        Set(HeaderLayout.SnapshotsOffset, offset).Set(HeaderLayout.SnapshotCount, count);

    /// <summary>Sets the incompatible features of an image of version 3.</summary>
    public HeaderChange SetIncompatible(IncompatibleFeatures features) => Set(HeaderLayout.IncompatibleFeatures, (ulong)features);

    /// <summary>Sets or removes the bitmaps extension.</summary>
    public HeaderChange SetBitmaps(BitmapsExtension? extension)
    {
        ChangesBitmaps = true;
        Bitmaps = extension;
        return this;
    }

    /// <summary>Sets or removes the backing file.</summary>
    /// <param name="name">The name to store, 1 to 1023 bytes; null for no backing file.</param>
    /// <param name="format">The backing file's format, at most <see cref="MaxBackingFormatBytes"/>.</param>
    public HeaderChange SetBackingFile(byte[]? name, byte[] format)
    {
        BackingFile = name;
        BackingFormat = format;
        return this;
    }

    /// <summary>Plans the change for the image's current state.</summary>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has too little space.</exception>
    /// <exception cref="Qcow2FormatException">The extensions are broken.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<SwitchPlan> PlanAsync(ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken)
    {
        bool isInFirstSector = !ChangesBitmaps && BackingFormat is null;
        var cluster = new byte[isInFirstSector ? SectorWrite.SectorBytes : header.ClusterSizeBytes];
        await storage.ReadZeroFilledAsync(0, cluster, cancellationToken).ConfigureAwait(false);
        return isInFirstSector
            ? SwitchPlan.InOneSector(SectorWrite.Between(cluster, WithFields(cluster, header)))
            : new SwitchPlanner(storage.Name, header, cluster, this).Plan();
    }

    /// <summary>A first cluster with the changed fields.</summary>
    public byte[] WithFields(byte[] cluster, Qcow2Header header)
    {
        byte[] changed = [.. cluster];
        foreach ((int field, byte[] value) in _fields)
        {
            value.CopyTo(changed, field);
        }

        if (header.Version >= 3)
        {
            // In version 2, extensions are stored there.
            Span<byte> autoclear = changed.AsSpan(HeaderLayout.AutoclearFeatures);
            AutoclearFeatures bits = (AutoclearFeatures)BinaryPrimitives.ReadUInt64BigEndian(autoclear) & KnownAutoclear;
            bits = !ChangesBitmaps ? bits : Bitmaps is null ? bits & ~AutoclearFeatures.Bitmaps : bits | AutoclearFeatures.Bitmaps;
            BinaryPrimitives.WriteUInt64BigEndian(autoclear, (ulong)bits);
        }

        return changed;
    }

    private HeaderChange Set(int field, ulong value)
    {
        var bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        _fields.Add((field, bytes));
        return this;
    }

    private HeaderChange Set(int field, uint value)
    {
        var bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        _fields.Add((field, bytes));
        return this;
    }
}
