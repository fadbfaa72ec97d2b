using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>The starting point of a change: the counts of a writable image, and the structures that must not be overwritten, whatever the
/// counts.</summary>
/// <param name="Stored">The counts.</param>
/// <param name="WithoutBitmaps">All structures but those of bitmaps.</param>
/// <param name="Live">All structures.</param>
internal sealed record WritableCounts(RefcountReader Stored, LiveMetadata WithoutBitmaps, LiveMetadata Live)
{
    /// <summary>Opens the counts of an image for writing.</summary>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its refcounts cannot be relied on.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<WritableCounts> OpenAsync(
        ImageStorage storage, ImageContents contents, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        RequireWritable(storage, contents.First.Header, limits);
        RefcountReader stored = await RefcountReader
            .OpenStrictAsync(storage, contents.First.Header, cancellationToken).ConfigureAwait(false);
        LiveMetadata withoutBitmaps = await LiveMetadata
            .ReadAsync(storage, contents, stored.Table, cancellationToken).ConfigureAwait(false);
        withoutBitmaps.RequireRefcountsApart(storage.Name);
        return new WritableCounts(stored, withoutBitmaps, withoutBitmaps.Copy().AddBitmapsOf(contents));
    }

    /// <summary>Refuses an image that must not be written.</summary>
    public static void RequireWritable(ImageStorage storage, Qcow2Header header, Qcow2Limits limits)
    {
        if (!storage.CanWrite)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ReadOnly, $"'{storage.Name}' is open for reading only");
        }

        if (header.Check(limits) is { } fault)
        {
            throw new Qcow2FormatException(fault, storage.Name);
        }

        if (header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Corrupt))
        {
            throw Refuse(
                FaultCode.HeaderCorruptBit,
                "bit 1 clear: the image is corrupt and cannot be written before it is repaired");
        }

        if (header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty))
        {
            throw Refuse(FaultCode.HeaderDirtyBit, "bit 0 clear: the refcounts are behind and have to be repaired");
        }

        Qcow2FormatException Refuse(FaultCode code, string allowed) => new(
            Faults.OfHex(
                code, "header", "incompatible_features", HeaderLayout.IncompatibleFeatures, (ulong)header.IncompatibleFeatures,
                allowed).Repairable,
            storage.Name);
    }
}
