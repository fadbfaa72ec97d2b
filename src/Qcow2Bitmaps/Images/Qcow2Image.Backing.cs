using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;

namespace Qcow2Bitmaps.Images;

/// <summary>The name of the backing file.</summary>
public sealed partial class Qcow2Image
{
    private const int MaxBackingFileBytes = 1023;

    /// <summary>Has the image name another backing file, or none; nothing else changes, as with <c>qemu-img rebase -u</c>.</summary>
    /// <remarks>A stop at any byte leaves the old name or the new one. Nothing is opened: whether the guest sees the same is the caller's to know.</remarks>
    /// <param name="name">The name as it is to be stored, at most 1023 bytes of UTF-8; null for no backing file.</param>
    /// <param name="format">The backing file's format by QEMU's name, at most 15 bytes; without meaning where there is none.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before.</param>
    /// <exception cref="ArgumentException">The name or the format is empty, or the format is too long.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, its first cluster has no room, the name is too long, or it has a raw data file and is to have a backing file.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public async ValueTask SetBackingFileAsync(string? name, string format, CancellationToken cancellationToken = default)
    {
        await EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await RepairIfDirtyAsync(cancellationToken).ConfigureAwait(false);
            SwitchPlan plan = await PlanBackingFileAsync(name, format, cancellationToken).ConfigureAwait(false);
            try
            {
                await plan.ApplyOrRevertAsync(_storage).ConfigureAwait(false);
            }
            finally
            {
                await ReloadAfterSwitchAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            _editing.Release();
        }
    }

    /// <summary>Refuses what <see cref="SetBackingFileAsync"/> would refuse, for one who works long before it. An image with the dirty bit is not looked at: it is repaired first.</summary>
    /// <inheritdoc cref="SetBackingFileAsync" path="/exception"/>
    internal async ValueTask RequireRoomForBackingFileAsync(string? name, string format, CancellationToken cancellationToken)
    {
        RequireNoRawDataFile(name);
        if (!Header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty))
        {
            await PlanBackingFileAsync(name, format, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>A raw data file reads as the disk does by itself, which no longer holds over a backing file.</summary>
    private void RequireNoRawDataFile(string? backingFile)
    {
        if (backingFile is not null && Header.HasRawDataFile)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ExternalDataFile, $"'{Name}' has a raw data file, which holds all of the disk: it cannot have a backing file");
        }
    }

    private async ValueTask<SwitchPlan> PlanBackingFileAsync(string? name, string format, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(format);
        byte[]? bytes = name is null ? null : ImageText.Encode(name);
        if (bytes is { Length: 0 })
        {
            throw new ArgumentException("The name of a backing file is empty", nameof(name));
        }

        if (bytes is { Length: > MaxBackingFileBytes })
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Limit, $"The name of a backing file has at most {MaxBackingFileBytes} bytes, not {bytes.Length}: '{name!}'");
        }

        byte[] formatBytes = ImageText.Encode(format);
        if (formatBytes.Length > HeaderChange.MaxBackingFormatBytes)
        {
            throw new ArgumentException($"A backing file's format has at most {HeaderChange.MaxBackingFormatBytes} bytes, not {formatBytes.Length}", nameof(format));
        }

        WritableCounts.RequireWritable(_storage, Header, Limits);
        RequireNoRawDataFile(name);
        return await new HeaderChange().SetBackingFile(bytes, formatBytes).PlanAsync(_storage, Header, cancellationToken).ConfigureAwait(false);
    }
}
