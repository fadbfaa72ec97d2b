using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.Naming;

/// <summary>Changes or removes the backing file name of an image.</summary>
internal static class BackingChange
{
    private const int MaxNameBytes = 1023;

    /// <inheritdoc cref="Qcow2Image.SetBackingFileAsync"/>
    public static async ValueTask RunAsync(ImageHandle image, string? name, string format, CancellationToken cancellationToken)
    {
        using ImageGate.Release alone = await image.EnterAsync(cancellationToken).ConfigureAwait(false);
        InterruptedEdit.RequireNone(image);
        await CountRepair.RunIfDirtyAsync(image, cancellationToken).ConfigureAwait(false);
        SwitchPlan plan = await PlanAsync(image, name, format, cancellationToken).ConfigureAwait(false);
        try
        {
            await plan.ApplyOrRevertAsync(image.Storage).ConfigureAwait(false);
        }
        finally
        {
            await image.ReloadAfterSwitchAsync().ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Throws where <see cref="RunAsync"/> would throw, for a caller that does long work before it. An image with the dirty bit is not
    /// checked: it is repaired first.
    /// </summary>
    /// <inheritdoc cref="Qcow2Image.SetBackingFileAsync" path="/exception"/>
    public static async ValueTask RequireRoomAsync(ImageHandle image, string? name, string format, CancellationToken cancellationToken)
    {
        InterruptedEdit.RequireNone(image);
        RequireNoRawDataFile(image, name);
        if (!image.Header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty))
        {
            await PlanAsync(image, name, format, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>A raw data file by itself reads like the disk, which is no longer true with a backing file.</summary>
    private static void RequireNoRawDataFile(ImageHandle image, string? backingFile)
    {
        if (backingFile is not null && image.Header.HasRawDataFile)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ExternalDataFile,
                $"'{image.Name}' has a raw data file, which holds all of the disk: it cannot have a backing file");
        }
    }

    private static async ValueTask<SwitchPlan> PlanAsync(
        ImageHandle image, string? name, string format, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(format);
        byte[]? bytes = name is null ? null : ImageText.Encode(name);
        if (bytes is { Length: 0 })
        {
            throw new ArgumentException("The name of a backing file is empty", nameof(name));
        }

        if (bytes is { Length: > MaxNameBytes })
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Limit, $"The name of a backing file has at most {MaxNameBytes} bytes, not {bytes.Length}: '{name!}'");
        }

        byte[] formatBytes = ImageText.Encode(format);
        if (formatBytes.Length > HeaderChange.MaxBackingFormatBytes)
        {
            throw new ArgumentException(
                $"A backing file's format has at most {HeaderChange.MaxBackingFormatBytes} bytes, not {formatBytes.Length}",
                nameof(format));
        }

        WritableCounts.RequireWritable(image.Storage, image.Header, image.Limits);
        RequireNoRawDataFile(image, name);
        return await new HeaderChange().SetBackingFile(bytes, formatBytes).PlanAsync(
            image.Storage, image.Header, cancellationToken).ConfigureAwait(false);
    }
}
