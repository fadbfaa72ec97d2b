using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What a guest sees of an image: the disk and each snapshot, byte for byte, and the bitmaps; and what a check finds.</summary>
/// <param name="Text">One line for each thing, hashes in place of bytes.</param>
/// <param name="Check">What a check finds.</param>
internal sealed record ImageViews(string Text, CheckReport Check)
{
    /// <summary>Reads all of an image. What an image has not is dots: its backing file is not opened.</summary>
    public static async Task<ImageViews> ReadAsync(byte[] content)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(content), cancellationToken: token);
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"disk {await ViewAsync(image, null, token)}");
        foreach (SnapshotInfo snapshot in image.Snapshots)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"snapshot {snapshot.Id} '{snapshot.Name}' {snapshot.DiskSizeBytes} {await ViewAsync(image, snapshot, token)}");
        }

        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            var findings = new List<FormatFault>();
            string bits = bitmap.State == BitmapState.Inconsistent ? "inconsistent" : Convert.ToHexString((await image.Bitmaps.LoadAsync(bitmap.Name, findings, token)).Sha256());
            text.AppendLine(CultureInfo.InvariantCulture, $"bitmap '{bitmap.Name}' {bitmap.GranularityBytes} {bitmap.Flags} {bits} {string.Concat(findings)}");
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"backing {image.BackingFile} {image.BackingFormat}");
        return new ImageViews(text.ToString(), await image.CheckAsync(token));
    }

    /// <summary>Whether a check finds nothing at all.</summary>
    public bool IsClean => Check.Corruptions == 0 && Check.CheckErrors == 0 && Check.Leaks == 0;

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Text}{Check.Corruptions} corruptions, {Check.Leaks} leaks, {Check.CheckErrors} errors: {string.Join("; ", Check.Findings.Take(5).Select(static finding => finding.Message))}");

    private static async Task<string> ViewAsync(Qcow2Image image, SnapshotInfo? snapshot, CancellationToken token)
    {
        GuestDisk disk = await GuestDisk.OpenAsync(image, snapshot, token);
        disk.Data = image.Storage;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var extents = new List<GuestExtent>();
        var buffer = new byte[1 << 20];
        for (long offset = 0; offset < disk.Map.SizeBytes;)
        {
            extents.Clear();
            offset = await disk.Map.ListAsync(offset, disk.Map.SizeBytes, extents, token);
            foreach (GuestExtent extent in extents)
            {
                for (long done = 0; done < extent.LengthBytes;)
                {
                    int length = (int)Math.Min(buffer.Length, extent.LengthBytes - done);
                    Memory<byte> piece = buffer.AsMemory(0, length);
                    if (extent.Kind is GuestExtentKind.Data or GuestExtentKind.Compressed)
                    {
                        bool isCompressed = extent.Kind == GuestExtentKind.Compressed;
                        await disk.ReadAsync(extent with { OffsetBytes = extent.OffsetBytes + done, LengthBytes = length, HostOffset = isCompressed ? extent.HostOffset : extent.HostOffset + done }, piece, token);
                    }
                    else
                    {
                        piece.Span.Fill(extent.Kind == GuestExtentKind.Zero || image.BackingFile is null ? (byte)0 : (byte)'.');
                    }

                    hash.AppendData(piece.Span);
                    done += length;
                }
            }
        }

        return string.Create(CultureInfo.InvariantCulture, $"{disk.Map.SizeBytes} {Convert.ToHexString(hash.GetHashAndReset().AsSpan(0, 8))}");
    }
}
