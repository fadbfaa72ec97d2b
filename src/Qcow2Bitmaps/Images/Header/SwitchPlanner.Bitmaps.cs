using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>The bitmaps extension. Other extensions and unknown bytes do not move.</summary>
internal sealed partial class SwitchPlanner
{
    private const int ExtensionBytes = HeaderExtension.HeaderBytes + BitmapsExtension.SizeBytes;

    // The last readable extension counts.
    private int LastBitmaps => _area.Extensions.FindLastIndex(
        static extension => extension is (HeaderExtensionType.Bitmaps, _, BitmapsExtension.SizeBytes));

    private IEnumerable<byte[]?[]> BitmapWays()
    {
        if ((_header.HeaderLength & 7) != 0)
        {
            // QEMU reads such headers, but nothing in them is aligned for an atomic switch.
            throw new Qcow2FormatException(
                Faults.Of(
                    FaultCode.HeaderLength, "header", "header_length", HeaderLayout.HeaderLength, _header.HeaderLength,
                    "a multiple of 8, for an image that is to be written"),
                _imageName);
        }

        if (_change.Bitmaps is not { } target)
        {
            yield return [Withdrawn()];
            yield break;
        }

        int last = LastBitmaps;
        byte[]? inPlace = last < 0 ? null : Published(_before, _area.Extensions[last].DataOffset, target, kept: last);
        if (inPlace is not null)
        {
            yield return [inPlace];
        }

        int filler = _area.Extensions.FindIndex(
            static extension => extension is (ExtensionArea.Filler, _, BitmapsExtension.SizeBytes) && !Crosses(extension.DataOffset));
        yield return filler >= 0 ? [Published(_before, _area.Extensions[filler].DataOffset, target, kept: -1)] : Appended(target);
        if (inPlace is not null)
        {
            int end = _area.EndMarker < 0 ? _area.End : _area.EndMarker;
            byte[] extensions = [.. inPlace[Start..end], .. new byte[HeaderExtension.HeaderBytes]];
            yield return ByWayOfACopy(extensions, _before[_area.NameStart.._area.NameEnd], _ => inPlace);
        }
    }

    private static bool Crosses(int dataOffset) =>
        dataOffset / SectorWrite.SectorBytes != (dataOffset + BitmapsExtension.SizeBytes - 1) / SectorWrite.SectorBytes;

    /// <summary>The cluster with the extension at some position, and without others that a reader could mistake for it.</summary>
    private byte[] Published(byte[] cluster, int dataOffset, BitmapsExtension target, int kept)
    {
        byte[] after = _change.WithFields(cluster, _header);
        for (int i = 0; i < _area.Extensions.Count; i++)
        {
            if (i != kept && _area.Extensions[i] is (HeaderExtensionType.Bitmaps, int other, int length))
            {
                WriteExtensionHeader(after, other - HeaderExtension.HeaderBytes, ExtensionArea.Filler, length);
            }
        }

        WriteExtensionHeader(after, dataOffset - HeaderExtension.HeaderBytes, HeaderExtensionType.Bitmaps, BitmapsExtension.SizeBytes);
        target.Write(after.AsSpan(dataOffset, BitmapsExtension.SizeBytes));
        return after;
    }

    /// <summary>States that append the extension, with a new end marker after it, at the old end marker; if needed, the backing file name
    /// is moved first.</summary>
    private byte[]?[] Appended(BitmapsExtension target)
    {
        // An area without an end marker ends where the name starts; an empty name makes room.
        bool isOpen = _area.EndMarker < 0 && _area.NameStart != 0 && _area.NameStart == _area.NameEnd && _area.End == _area.NameStart;
        int oldEnd = isOpen ? _area.End : _area.EndMarker;
        int newEnd = oldEnd + ExtensionBytes;
        int firstFree = newEnd + HeaderExtension.HeaderBytes;
        if (oldEnd < 0 || firstFree > _before.Length)
        {
            return [null];
        }

        byte[]? moved = null;
        if (_area.NameStart != 0 && firstFree > _area.NameStart)
        {
            moved = MovedName(firstFree);
            if (moved is null)
            {
                return [null];
            }

            if (isOpen)
            {
                moved.AsSpan(oldEnd, HeaderExtension.HeaderBytes).Clear();
            }
        }

        byte[] after = Published(moved ?? _before, oldEnd + HeaderExtension.HeaderBytes, target, kept: -1);
        after.AsSpan(newEnd, HeaderExtension.HeaderBytes).Clear();
        return [moved, after];
    }

    private byte[]? MovedName(int firstFree)
    {
        int length = _area.NameEnd - _area.NameStart;
        if (_header.BackingFileSize > (uint)length)
        {
            throw new Qcow2FormatException(
                Faults.Of(
                    FaultCode.HeaderBackingFileSize, "header", "backing_file_size", HeaderLayout.BackingFileSize, _header.BackingFileSize,
                    $"at most {length} bytes, for a name that is to be moved"),
                _imageName);
        }

        // Within one sector all changes are atomic, so the old name may be overwritten.
        int place = _before.Length == SectorWrite.SectorBytes || firstFree >= _area.NameEnd ? firstFree : Align(_area.NameEnd);
        if (place + length > _before.Length)
        {
            return null;
        }

        byte[] moved = [.. _before];
        _before.AsSpan(_area.NameStart, length).CopyTo(moved.AsSpan(place));
        BinaryPrimitives.WriteUInt64BigEndian(moved.AsSpan(HeaderLayout.BackingFileOffset), (ulong)place);
        return moved;
    }

    /// <summary>The cluster without bitmaps. If the extension is the last one, the end marker replaces it.</summary>
    private byte[] Withdrawn()
    {
        byte[] after = _change.WithFields(_before, _header);
        foreach ((int i, (HeaderExtensionType type, int dataOffset, int length)) in _area.Extensions.Index())
        {
            if (type == HeaderExtensionType.Bitmaps)
            {
                bool isLast = i == _area.Extensions.Count - 1 && _area.EndMarker >= 0;
                HeaderExtensionType left = isLast ? HeaderExtensionType.End : ExtensionArea.Filler;
                WriteExtensionHeader(after, dataOffset - HeaderExtension.HeaderBytes, left, isLast ? 0 : length);
            }
        }

        return after;
    }
}
