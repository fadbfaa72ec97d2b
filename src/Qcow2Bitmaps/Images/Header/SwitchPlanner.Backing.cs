using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>The backing file: its name, which stands behind the extensions, and the extension that says its format.</summary>
internal sealed partial class SwitchPlanner
{
    private IEnumerable<byte[]?[]> BackingWays()
    {
        byte[] name = _change.BackingFile ?? [];
        byte[] extensions = ExtensionsWithFormat();
        int end = Start + extensions.Length;
        int beside = PlaceBeside(name, Math.Max(_area.End, end));
        // Right behind the extensions where that takes one write, else beside the name that is in use.
        foreach (int place in (int[])[end, beside])
        {
            if (place + name.Length <= _before.Length
                && FinalAt(place) is var after
                && (place == beside || TryInOneSector(after) is not null))
            {
                yield return [after];
            }
        }

        yield return ByWayOfACopy(extensions, name, FinalAt);

        byte[] FinalAt(int place)
        {
            byte[] after = _change.WithFields(_before, _header);
            extensions.CopyTo(after, Start);
            name.CopyTo(after, place);
            BinaryPrimitives.WriteUInt64BigEndian(after.AsSpan(HeaderLayout.BackingFileOffset), name.Length == 0 ? 0 : (ulong)place);
            BinaryPrimitives.WriteUInt32BigEndian(after.AsSpan(HeaderLayout.BackingFileSize), (uint)name.Length);
            return after;
        }
    }

    /// <summary>Where the name goes that is not the one in use, or where that stands already.</summary>
    private int PlaceBeside(byte[] name, int free)
    {
        if (name.Length == 0 || _area.NameStart == 0)
        {
            return free;
        }

        return _area.NameStart >= free && _before.AsSpan(_area.NameStart.._area.NameEnd).SequenceEqual(name) ? _area.NameStart
            : free + name.Length <= _area.NameStart || _area.NameEnd <= free ? free
            : Align(_area.NameEnd);
    }

    /// <summary>The extensions as they are to be, with an end marker. Where several say the format the last one counts; the new one takes
    /// the first one's place, in the first sector as a rule.</summary>
    private byte[] ExtensionsWithFormat()
    {
        // A stop has left a filler that reaches up to a copy: it means nothing.
        List<(HeaderExtensionType Type, byte[] Data)> extensions = [.. _area.Extensions
            .Where(static extension => extension.Type != ExtensionArea.Filler || extension.Length == BitmapsExtension.SizeBytes)
            .Select(extension => (extension.Type, _before.AsSpan(extension.DataOffset, extension.Length).ToArray()))];
        byte[] format = _change.BackingFormat!;
        int last = extensions.FindLastIndex(static extension => extension.Type == HeaderExtensionType.BackingFormat);
        if (_change.BackingFile is not null && (last < 0 || !extensions[last].Data.AsSpan().SequenceEqual(format)))
        {
            int first = extensions.FindIndex(static extension => extension.Type == HeaderExtensionType.BackingFormat);
            extensions.RemoveAll(static extension => extension.Type == HeaderExtensionType.BackingFormat);
            // A new one behind all others, which stay where they are.
            extensions.Insert(first < 0 ? extensions.Count : first, (HeaderExtensionType.BackingFormat, format));
        }

        int length = extensions.Sum(static extension => HeaderExtension.SizeBytes(extension.Data.Length));
        var bytes = new byte[length + HeaderExtension.HeaderBytes];
        int at = 0;
        foreach ((HeaderExtensionType type, byte[] data) in extensions)
        {
            WriteExtensionHeader(bytes, at, type, data.Length);
            data.CopyTo(bytes, at + HeaderExtension.HeaderBytes);
            at += HeaderExtension.SizeBytes(data.Length);
        }

        // The zeros behind them are the end marker.
        return bytes;
    }
}
