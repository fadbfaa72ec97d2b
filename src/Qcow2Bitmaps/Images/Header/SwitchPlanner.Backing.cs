using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>The backing file: its name, which follows the extensions, and the extension with its format.</summary>
internal sealed partial class SwitchPlanner
{
    private IEnumerable<byte[]?[]> BackingWays()
    {
        byte[] name = _change.BackingFile ?? [];
        byte[] extensions = ExtensionsWithFormat();
        int end = Start + extensions.Length;
        int beside = PlaceBeside(name, Math.Max(_area.End, end));
        // Directly after the extensions if that takes one write, otherwise next to the current name.
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

    /// <summary>A position for a name that is not the one in use, or the current position if the name is already there.</summary>
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

    /// <summary>The new extensions, with an end marker. If several give the format, the last one counts; the new one replaces the first
    /// one, usually in the first sector.</summary>
    private byte[] ExtensionsWithFormat()
    {
        // An interruption may have left a filler that reaches up to a copy: it has no meaning.
        List<(HeaderExtensionType Type, byte[] Data)> extensions = [.. _area.Extensions
            .Where(static extension => extension.Type != ExtensionArea.Filler || extension.Length == BitmapsExtension.SizeBytes)
            .Select(extension => (extension.Type, _before.AsSpan(extension.DataOffset, extension.Length).ToArray()))];
        byte[] format = _change.BackingFormat!;
        int last = extensions.FindLastIndex(static extension => extension.Type == HeaderExtensionType.BackingFormat);
        if (_change.BackingFile is not null && (last < 0 || !extensions[last].Data.AsSpan().SequenceEqual(format)))
        {
            int first = extensions.FindIndex(static extension => extension.Type == HeaderExtensionType.BackingFormat);
            extensions.RemoveAll(static extension => extension.Type == HeaderExtensionType.BackingFormat);
            // Adds a new one after all others, which do not move.
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

        // The zeros after them are the end marker.
        return bytes;
    }
}
