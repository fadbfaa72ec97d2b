using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What a guest sees of an image: the disk and each snapshot, byte for byte, and the bitmaps; and what a check finds.</summary>
/// <param name="Text">One line for each thing, hashes in place of bytes.</param>
/// <param name="Check">What a check finds.</param>
internal sealed record ImageViews(string Text, CheckReport Check)
{
    private const int BlockBytes = 4096;

    /// <summary>Reads all of an image. What an image has not is dots: its backing file is not opened.</summary>
    /// <param name="content">The image.</param>
    /// <param name="data">Its external data file; null when it has none.</param>
    /// <param name="isQemus">Whether QEMU has written it too, which may leave old bytes behind the bitmap directory.</param>
    public static async Task<ImageViews> ReadAsync(byte[] content, byte[]? data = null, bool isQemus = false)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(content), cancellationToken: token);
        if (!isQemus)
        {
            DirectoryTail.AssertZeros(image, content, "a state of the image");
        }

        ImageStorage guest = data is null ? image.Handle.Storage : MemoryStorage.ReadOnly(data);
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"disk {await ViewAsync(image, null, guest, token)}");
        foreach (SnapshotInfo snapshot in image.Snapshots)
        {
            text.AppendLine(
                CultureInfo.InvariantCulture,
                $"snapshot {snapshot.Id} '{snapshot.Name}' {snapshot.DiskSizeBytes} {await ViewAsync(image, snapshot, guest, token)}");
        }

        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            var findings = new List<FormatFault>();
            string bits = bitmap.State == BitmapState.Inconsistent
                ? "inconsistent"
                : Convert.ToHexString((await image.Bitmaps.LoadAsync(bitmap.Name, findings, token)).Sha256());
            text.AppendLine(
                CultureInfo.InvariantCulture,
                $"bitmap '{bitmap.Name}' {bitmap.GranularityBytes} {bitmap.Flags} {bits} {string.Concat(findings)}");
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"backing {image.BackingFile} {image.BackingFormat}");
        return new ImageViews(text.ToString(), await image.CheckAsync(token));
    }

    /// <summary>Whether a check finds nothing at all.</summary>
    public bool IsClean => Check.Corruptions == 0 && Check.CheckErrors == 0 && Check.Leaks == 0;

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Text}{Check.Corruptions} corruptions, {Check.Leaks} leaks, {Check.CheckErrors} errors: "
        + $"{string.Join("; ", Check.Findings.Take(5).Select(static finding => finding.Message))}");

    private static async Task<string> ViewAsync(Qcow2Image image, SnapshotInfo? snapshot, ImageStorage data, CancellationToken token)
    {
        GuestDisk disk = await GuestDisk.OpenAsync(image.Handle, snapshot, token);
        disk.Data = data;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var extents = new List<DiskExtent>();
        // Blocks of zeros are counted, so that large disks take no time, whatever makes them zeros.
        var block = new byte[BlockBytes];
        long zeroBlocks = 0;
        long done = 0;
        for (long offset = 0; offset < disk.Map.SizeBytes;)
        {
            extents.Clear();
            offset = await disk.Map.ListAsync(offset, disk.Map.SizeBytes, extents, token);
            foreach (DiskExtent extent in extents)
            {
                while (done < extent.EndBytes)
                {
                    int inBlock = (int)(done % BlockBytes);
                    bool hasData = extent.Kind is ExtentKind.Data or ExtentKind.Compressed;
                    bool isZero = !hasData && (extent.Kind == ExtentKind.Zero || image.BackingFile is null);
                    if (isZero && inBlock == 0 && extent.EndBytes - done >= BlockBytes)
                    {
                        zeroBlocks += (extent.EndBytes - done) / BlockBytes;
                        done += (extent.EndBytes - done) / BlockBytes * BlockBytes;
                        continue;
                    }

                    int length = (int)Math.Min(BlockBytes - inBlock, extent.EndBytes - done);
                    Memory<byte> piece = block.AsMemory(inBlock, length);
                    piece.Span.Fill(isZero ? (byte)0 : (byte)'.');
                    if (hasData)
                    {
                        bool isCompressed = extent.Kind == ExtentKind.Compressed;
                        await disk.ReadAsync(
                            extent with
                            {
                                OffsetBytes = done,
                                LengthBytes = length,
                                HostOffset = isCompressed ? extent.HostOffset : extent.HostOffset + (done - extent.OffsetBytes),
                            },
                            piece, token);
                    }

                    done += length;
                    if (done % BlockBytes != 0 && done < disk.Map.SizeBytes)
                    {
                        continue;
                    }

                    Span<byte> whole = block.AsSpan(0, inBlock + length);
                    if (whole.ContainsAnyExcept((byte)0))
                    {
                        hash.AppendData(Encoding.UTF8.GetBytes(zeroBlocks.ToString(CultureInfo.InvariantCulture)));
                        hash.AppendData(whole);
                        zeroBlocks = 0;
                    }
                    else
                    {
                        zeroBlocks++;
                    }
                }
            }
        }

        return string.Create(
            CultureInfo.InvariantCulture, $"{disk.Map.SizeBytes} {Convert.ToHexString(hash.GetHashAndReset().AsSpan(0, 8))}");
    }
}
