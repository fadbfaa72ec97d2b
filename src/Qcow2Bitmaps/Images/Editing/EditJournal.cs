using System.Buffers.Binary;
using System.Security.Cryptography;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>The journal of an edit of several images, as bytes: big-endian numbers, counted lists, and at the end the SHA-256 of all before it.</summary>
/// <remarks>A journal that is not whole was not durable when the first image would have been switched, so that no image was.</remarks>
internal static class EditJournal
{
    private static readonly byte[] s_magic = "qcow2bitmaps edit journal 1\n"u8.ToArray();

    public static byte[] ToBytes(IReadOnlyList<JournalEntry> entries)
    {
        using var stream = new MemoryStream();
        stream.Write(s_magic);
        Write(stream, entries.Count);
        foreach (JournalEntry entry in entries)
        {
            Write(stream, ImageText.Encode(entry.Path));
            Write(stream, entry.LastWrite is { } lastWrite ? Bytes(lastWrite) : []);
            Write(stream, entry.Directories.Count);
            foreach (JournalDirectory directory in entry.Directories)
            {
                Write(stream, directory.Offset);
                Write(stream, directory.LengthBytes);
                Write(stream, directory.Sha256.Span);
            }

            Write(stream, entry.Stages.Count);
            foreach (IReadOnlyList<SectorWrite> stage in entry.Stages)
            {
                Write(stream, stage.Count);
                foreach (SectorWrite write in stage)
                {
                    Write(stream, write.Offset);
                    Write(stream, write.Before.Span);
                    Write(stream, write.After.Span);
                }
            }
        }

        stream.Write(SHA256.HashData(stream.GetBuffer().AsSpan(0, (int)stream.Length)));
        return stream.ToArray();
    }

    /// <summary>Reads a journal.</summary>
    /// <returns>What it says; null when it is not whole.</returns>
    /// <exception cref="IOException">The journal is whole, and not one that this library wrote.</exception>
    public static IReadOnlyList<JournalEntry>? TryRead(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.Length - SHA256.HashSizeInBytes;
        if (end < s_magic.Length || !bytes.StartsWith(s_magic) || !SHA256.HashData(bytes[..end]).AsSpan().SequenceEqual(bytes[end..]))
        {
            return null;
        }

        ReadOnlySpan<byte> rest = bytes[s_magic.Length..end];
        var entries = new JournalEntry[ReadCount(ref rest)];
        for (int i = 0; i < entries.Length; i++)
        {
            string path = ImageText.Decode(ReadBytes(ref rest));
            ReadOnlySpan<byte> lastWrite = ReadBytes(ref rest);
            Int128? lastWriteNumber = lastWrite.IsEmpty ? null : BinaryPrimitives.ReadInt128BigEndian(lastWrite);
            var directories = new JournalDirectory[ReadCount(ref rest)];
            for (int d = 0; d < directories.Length; d++)
            {
                directories[d] = new JournalDirectory(ReadNumber(ref rest), (int)ReadNumber(ref rest), ReadBytes(ref rest).ToArray());
            }

            var stages = new IReadOnlyList<SectorWrite>[ReadCount(ref rest)];
            for (int s = 0; s < stages.Length; s++)
            {
                var stage = new SectorWrite[ReadCount(ref rest)];
                for (int w = 0; w < stage.Length; w++)
                {
                    stage[w] = new SectorWrite((int)ReadNumber(ref rest), ReadBytes(ref rest).ToArray(), ReadBytes(ref rest).ToArray());
                }

                stages[s] = stage;
            }

            entries[i] = new JournalEntry(path, lastWriteNumber, directories, stages);
        }

        return entries;
    }

    private static byte[] Bytes(Int128 number)
    {
        var bytes = new byte[16];
        BinaryPrimitives.WriteInt128BigEndian(bytes, number);
        return bytes;
    }

    private static void Write(MemoryStream stream, long number)
    {
        Span<byte> bytes = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64BigEndian(bytes, number);
        stream.Write(bytes);
    }

    private static void Write(MemoryStream stream, ReadOnlySpan<byte> bytes)
    {
        Write(stream, bytes.Length);
        stream.Write(bytes);
    }

    /// <summary>A number of things that take a byte each at least.</summary>
    private static int ReadCount(ref ReadOnlySpan<byte> rest)
    {
        long count = ReadNumber(ref rest);
        return count >= 0 && count <= rest.Length ? (int)count : throw Foreign();
    }

    private static IOException Foreign() => new("The journal of an edit of several images was not written by this library");

    private static long ReadNumber(ref ReadOnlySpan<byte> rest)
    {
        if (rest.Length < sizeof(long))
        {
            throw Foreign();
        }

        long number = BinaryPrimitives.ReadInt64BigEndian(rest);
        rest = rest[sizeof(long)..];
        return number;
    }

    private static ReadOnlySpan<byte> ReadBytes(ref ReadOnlySpan<byte> rest)
    {
        int length = ReadCount(ref rest);
        ReadOnlySpan<byte> bytes = rest[..length];
        rest = rest[length..];
        return bytes;
    }
}
