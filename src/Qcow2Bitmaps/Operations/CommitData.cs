using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>The data of a commit: the base grows to the top's size, and takes what the committed images have.</summary>
internal sealed class CommitData(CommitScope scope, ChainDisk map)
{
    /// <summary>
    /// When the base grows, the content of its raw data file beyond its end becomes part of the base, where the guest has
    /// read zeros or its own data.
    /// </summary>
    /// <exception cref="Qcow2UnsupportedException">There is something.</exception>
    public async ValueTask RequireNoneHiddenAsync(CancellationToken cancellationToken)
    {
        if (scope.Base is not Qcow2Layer { Image.Header.HasRawDataFile: true }
            || scope.Options.Rehearses is { } depth and not MeasureDepth.Data)
        {
            return;
        }

        long newSize = scope.TopLayer.VirtualSizeBytes;
        ImageStorage file = DataFile!;
        if (await NonZeroSearch.FindAsync(file, scope.OldSizeBytes, newSize, cancellationToken).ConfigureAwait(false) is { } found)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ExternalDataFile,
                $"{scope.Base} of {scope.OldSizeBytes} bytes would grow to {newSize} over what its raw data file '{file.Name}' has behind "
                + $"that end, "
                + $"first at byte {found}: that would be lost. Copy it elsewhere if it is of use, make it zeros, then commit again; "
                + $"nothing was written");
        }
    }

    /// <summary>
    /// Version 2 has no zero clusters, which are needed to hide data of a longer backing image beyond the base's end. QEMU
    /// refuses too, but halfway.
    /// </summary>
    /// <exception cref="Qcow2UnsupportedException">The base would have to grow over a longer image.</exception>
    /// <exception cref="Qcow2Exception">The base would have to grow, and its bitmaps cannot.</exception>
    public void RequireGrowth()
    {
        long newSize = scope.TopLayer.VirtualSizeBytes;
        if (scope.OldSizeBytes < newSize && scope.Base is Qcow2Layer { Image: var image })
        {
            var bitmaps = new BitmapResize(image.Handle, newSize);
            bitmaps.Check();
            bitmaps.RequireRoom();
        }

        if (scope.Base is Qcow2Layer { Image.Header.Version: < 3 } && scope.OldSizeBytes < newSize
            && scope.Chain.Layers.Skip(scope.Target + 1).FirstOrDefault()?.VirtualSizeBytes > scope.OldSizeBytes)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Version2,
                $"{scope.Base} of {scope.OldSizeBytes} bytes cannot grow to {newSize}: its backing image is longer, "
                + $"and version 2 cannot hide what that has there");
        }
    }

    public async ValueTask GrowAsync(CancellationToken cancellationToken)
    {
        if (scope.NewSizeBytes == scope.OldSizeBytes)
        {
            return;
        }

        if (scope.Base is Qcow2Layer { Image: var image })
        {
            var options = new Qcow2ResizeOptions
            {
                Backing = scope.Target + 1 < scope.Chain.Layers.Count ? map.From(scope.Target + 1) : null,
                DataFile = image.Header.HasExternalDataFile ? DataFile : null,
            };
            await image.ResizeAsync(scope.NewSizeBytes, options, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await scope.Base.Storage.SetLengthAsync(scope.NewSizeBytes, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Copies, and tells how many bytes of the disk were written.</summary>
    public async Task<long> CopyAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        ChainDisk source = map.From(scope.Top);
        Disk target = scope.Base is RawLayer
            ? new RawDisk(scope.Base.Storage)
            : await scope.Chain.OpenWriterAsync(scope.Target, marksWrites: false, cancellationToken).ConfigureAwait(false);
        await using (target.ConfigureAwait(false))
        {
            var engine = new CopyEngine(target, scope.Options.Copying, progress, zeroFromBytes: scope.OldSizeBytes);
            if (source.SizeBytes < scope.OldSizeBytes && scope.Above.Any(above => above.VirtualSizeBytes > source.SizeBytes))
            {
                // Beyond the top's end, the images above have read zeros so far, whatever the base has there.
                await engine.ZeroAsync(source.SizeBytes, scope.OldSizeBytes, cancellationToken).ConfigureAwait(false);
            }

            await engine.RunAsync(
                new CopyScope(source) { SkipFromDepth = scope.Target - scope.Top }, cancellationToken).ConfigureAwait(false);
            await target.FlushAsync(cancellationToken).ConfigureAwait(false);
            return engine.WrittenBytes;
        }
    }

    private ImageStorage? DataFile => map.DiskOf(scope.Target)!.Data;
}
