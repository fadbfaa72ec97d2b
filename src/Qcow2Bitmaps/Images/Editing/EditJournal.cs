using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>
/// The journal of an edit of several images, as bytes: big-endian numbers, counted lists, and at the end the SHA-256 of all before it.
/// </summary>
/// <remarks>
/// A journal gets its name once it is durable. So an incomplete file is damaged or not a journal: it gives no information about the images.
/// </remarks>
internal static class EditJournal
{
    // Each number and each byte string's length takes 8 bytes.
    private const int MinEntryBytes = 4 * sizeof(long);
    private const int MinDirectoryBytes = 3 * sizeof(long);
    private const int MinWriteBytes = 3 * sizeof(long);
    private const int MaxDirectoryBytes = 1 << 30;
    private const int LastWriteBytes = 16;

    private static readonly byte[] s_magic = "qcow2bitmaps edit journal 1\n"u8.ToArray();

    public static byte[] ToBytes(IReadOnlyList<JournalEntry> entries)
    {
        using var journal = new ArrayPoolBufferWriter<byte>();
        journal.Write(s_magic.AsSpan());
        Write(journal, entries.Count);
        foreach (JournalEntry entry in entries)
        {
            Write(journal, ImageText.Encode(entry.Path));
            Write(journal, entry.LastWrite is { } lastWrite ? Bytes(lastWrite) : []);
            Write(journal, entry.Directories.Count);
            foreach (JournalDirectory directory in entry.Directories)
            {
                Write(journal, directory.Offset);
                Write(journal, directory.LengthBytes);
                Write(journal, directory.Sha256.Span);
            }

            Write(journal, entry.Plan.Stages.Count);
            foreach (IReadOnlyList<SectorWrite> stage in entry.Plan.Stages)
            {
                Write(journal, stage.Count);
                foreach (SectorWrite write in stage)
                {
                    Write(journal, write.Offset);
                    Write(journal, write.Before.Span);
                    Write(journal, write.After.Span);
                }
            }
        }

        journal.Write(SHA256.HashData(journal.WrittenSpan).AsSpan());
        return journal.WrittenSpan.ToArray();
    }

    /// <summary>Reads a journal.</summary>
    /// <returns>Its entries.</returns>
    /// <exception cref="IOException">It is not a journal of this library, or is damaged.</exception>
    public static IReadOnlyList<JournalEntry> Read(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.Length - SHA256.HashSizeInBytes;
        if (end < s_magic.Length || !bytes.StartsWith(s_magic) || !SHA256.HashData(bytes[..end]).AsSpan().SequenceEqual(bytes[end..]))
        {
            throw Foreign();
        }

        ReadOnlySpan<byte> rest = bytes[s_magic.Length..end];
        var entries = new JournalEntry[ReadCount(ref rest, MinEntryBytes)];
        for (int i = 0; i < entries.Length; i++)
        {
            string path = ImageText.Decode(ReadBytes(ref rest));
            ReadOnlySpan<byte> lastWrite = ReadBytes(ref rest);
            Int128? lastWriteNumber = lastWrite.Length switch
            {
                0 => null,
                LastWriteBytes => BinaryPrimitives.ReadInt128BigEndian(lastWrite),
                _ => throw Foreign(),
            };
            var directories = new JournalDirectory[ReadCount(ref rest, MinDirectoryBytes)];
            for (int d = 0; d < directories.Length; d++)
            {
                directories[d] = new JournalDirectory(
                    ReadNumber(ref rest, long.MaxValue), (int)ReadNumber(ref rest, MaxDirectoryBytes), ReadBytes(ref rest).ToArray());
            }

            var stages = new IReadOnlyList<SectorWrite>[ReadCount(ref rest, sizeof(long))];
            for (int s = 0; s < stages.Length; s++)
            {
                var stage = new SectorWrite[ReadCount(ref rest, MinWriteBytes)];
                for (int w = 0; w < stage.Length; w++)
                {
                    stage[w] = new SectorWrite(
                        (int)ReadNumber(ref rest, 1 << ImageGeometry.MaxClusterBits), ReadBytes(ref rest).ToArray(),
                        ReadBytes(ref rest).ToArray());
                }

                stages[s] = stage;
            }

            entries[i] = new JournalEntry(path, lastWriteNumber, directories, new SwitchPlan(stages));
        }

        return entries;
    }

    private static byte[] Bytes(Int128 number)
    {
        var bytes = new byte[LastWriteBytes];
        BinaryPrimitives.WriteInt128BigEndian(bytes, number);
        return bytes;
    }

    private static void Write(ArrayPoolBufferWriter<byte> journal, long number)
    {
        BinaryPrimitives.WriteInt64BigEndian(journal.GetSpan(sizeof(long)), number);
        journal.Advance(sizeof(long));
    }

    private static void Write(ArrayPoolBufferWriter<byte> journal, ReadOnlySpan<byte> bytes)
    {
        Write(journal, bytes.Length);
        journal.Write(bytes);
    }

    /// <summary>The count of a list whose items have a minimum size.</summary>
    private static int ReadCount(ref ReadOnlySpan<byte> rest, int minBytes)
    {
        long count = ReadNumber(ref rest, int.MaxValue);
        return count <= rest.Length / minBytes ? (int)count : throw Foreign();
    }

    private static IOException Foreign() => IOException.Of("It is damaged, or no journal of an edit of several images");

    /// <summary>A number from 0.</summary>
    private static long ReadNumber(ref ReadOnlySpan<byte> rest, long max)
    {
        if (rest.Length < sizeof(long))
        {
            throw Foreign();
        }

        long number = BinaryPrimitives.ReadInt64BigEndian(rest);
        rest = rest[sizeof(long)..];
        return number >= 0 && number <= max ? number : throw Foreign();
    }

    private static ReadOnlySpan<byte> ReadBytes(ref ReadOnlySpan<byte> rest)
    {
        int length = ReadCount(ref rest, 1);
        ReadOnlySpan<byte> bytes = rest[..length];
        rest = rest[length..];
        return bytes;
    }
}
