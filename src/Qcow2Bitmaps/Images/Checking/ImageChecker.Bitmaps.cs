using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counting what bitmaps use.</summary>
internal sealed partial class ImageChecker
{
    private long _bitmapCorruptions;
    // Whether a broken bitmap may have clusters that could not be counted, so that they look leaked.
    private bool _missesBitmaps;

    private async ValueTask CountBitmapsAsync(CancellationToken cancellationToken)
    {
        // Without the autoclear bit there are no bitmaps, whatever the extension says; but QEMU still checks its length.
        bool hasBitmaps = _header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps);
        foreach (FormatFault finding
            in _image.Contents.Findings.Where(
                finding => hasBitmaps ? IsHarmful(finding) : finding is { Code: FaultCode.BitmapsExtensionLength, IsRefused: true }))
        {
            // Only with a lenient reader: QEMU cannot open such an image, and so cannot check it.
            _log.Corrupt($"ERROR {finding}");
            _bitmapCorruptions++;
            _missesBitmaps |= hasBitmaps;
        }

        if (!hasBitmaps)
        {
            return;
        }

        if (_image.Contents.First.Bitmaps is not { } directory)
        {
            return;
        }

        CountRegion(directory.DirectoryOffset, _image.Contents.Bitmaps.OwnedBytes);
        foreach (BitmapInfo bitmap in _image.Contents.Bitmaps.Bitmaps.Where(static bitmap => bitmap.Faults.Count == 0))
        {
            long bytes = bitmap.TableBytes;
            CountRegion(bitmap.TableOffset, bytes);
            (long position, long end) = _scanner.Clip(bitmap.TableOffset, bytes);
            while (await _scanner.NextAsync(position, end, cancellationToken).ConfigureAwait(false) is { Bytes.IsEmpty: false } piece)
            {
                CountBitmap(bitmap, MemoryMarshal.Cast<byte, ulong>(piece.Bytes.Span));
                position = piece.EndOffset;
            }

            FailIfRefused(bitmap.TableOffset);
        }
    }

    private void CountBitmap(BitmapInfo bitmap, ReadOnlySpan<ulong> table)
    {
        foreach (ulong bigEndian in table)
        {
            var entry = new BitmapTableEntry(BinaryPrimitives.ReverseEndianness(bigEndian));
            if (entry.Check(_geometry.ClusterBits) != FaultCode.None)
            {
                _log.Corrupt($"ERROR bitmap '{bitmap.Name}': table entry 0x{entry.Raw:x} is not allowed");
                _bitmapCorruptions++;
                _missesBitmaps = true;
            }
            else if (entry.HasData)
            {
                CountRegion(entry.Offset, _geometry.ClusterSizeBytes);
            }
        }
    }

    /// <summary>
    /// Whether a bitmap fault is one that a strict reader refuses, or another harmful one that the counting of leaks does not show.
    /// </summary>
    public static bool IsHarmful(FormatFault fault) => fault.IsOfBitmaps && (fault.IsRefused || fault.Code is not (
        FaultCode.BitmapsExtensionAutoclearOff or FaultCode.BitmapsExtensionMissing or FaultCode.BitmapName or FaultCode.BitmapPadding
            or FaultCode.BitmapInUse));

    private void FailIfRefused(ulong offset)
    {
        if (_scanner.TakeRefusal())
        {
            _log.Fail($"The table at offset 0x{offset:x} is not checked: tables overlap, together they are longer than the file");
        }
    }
}
