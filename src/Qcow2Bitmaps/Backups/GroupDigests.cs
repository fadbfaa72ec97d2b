using System.Buffers.Binary;
using System.Security.Cryptography;
using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Backups;

/// <summary>Computes the checksums of a manifest from data that are written or read in any order.</summary>
/// <remarks>
/// <para>
/// For each item of 1 MiB that has data: SHA-256 over each run of 64 KiB blocks with data: its start and its length (8 bytes each, big
/// endian) and its bytes. For a group: SHA-256 over each such item: its offset (8 bytes) and its checksum; then over each run of blocks of
/// zeros: a byte 1, its start and its end (8 bytes each), adjacent runs joined. So a checksum depends on what is at which place of the
/// disk, and not on how an image stores it.
/// </para>
/// <para>Thread-safe. Memory: the groups in progress, which are few.</para>
/// </remarks>
/// <param name="groupBytes">The size of a group, in bytes: a multiple of 1 MiB.</param>
/// <param name="sizeBytes">The disk's size in bytes.</param>
/// <param name="onGroup">Receives each group, in ascending order, one at a time, once it is final.</param>
internal sealed class GroupDigests(long groupBytes, long sizeBytes, Action<BackupGroup> onGroup) : ICopyObserver
{
    /// <summary>The unit in which zeros are distinguished from data.</summary>
    public const int BlockBytes = 64 << 10;

    private const byte ZeroRun = 1;

    private readonly Lock _gate = new();
    private readonly SortedSet<long> _inWork = [];
    private readonly SortedDictionary<long, Pending> _groups = [];
    private long _begun;

    public void Begin(long offsetBytes)
    {
        lock (_gate)
        {
            _inWork.Add(offsetBytes);
            _begun = offsetBytes;
        }
    }

    public void End(CopyItem item, ReadOnlySpan<byte> buffer, IReadOnlyList<CopyWrite> writes)
    {
        (long dataBytes, byte[]? digest) = Digest(item.OffsetBytes, buffer, writes);
        lock (_gate)
        {
            if (digest is not null)
            {
                Pending group = GroupAt(item.OffsetBytes);
                group.DataBytes += dataBytes;
                group.Items.Add(item.OffsetBytes, digest);
            }

            foreach (CopyWrite write in writes)
            {
                if (write.IsZero)
                {
                    AddZeros(write.OffsetBytes, Math.Min(sizeBytes, (write.EndBytes + BlockBytes - 1) / BlockBytes * BlockBytes));
                }
            }

            _inWork.Remove(item.OffsetBytes);
            Close((_inWork.Count > 0 ? _inWork.Min : _begun) / groupBytes * groupBytes);
        }
    }

    /// <summary>Emits the remaining groups at the end.</summary>
    public void Complete()
    {
        lock (_gate)
        {
            Close(long.MaxValue);
        }
    }

    private static (long DataBytes, byte[]? Digest) Digest(long itemOffset, ReadOnlySpan<byte> buffer, IReadOnlyList<CopyWrite> writes)
    {
        IncrementalHash? hash = null;
        long dataBytes = 0;
        Span<byte> place = stackalloc byte[2 * sizeof(long)];
        for (int i = 0; i < writes.Count; i++)
        {
            CopyWrite run = writes[i];
            if (run.IsZero)
            {
                continue;
            }

            while (i + 1 < writes.Count && !writes[i + 1].IsZero && writes[i + 1].OffsetBytes == run.EndBytes)
            {
                run = run with { EndBytes = writes[++i].EndBytes };
            }

            hash ??= IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            long length = run.EndBytes - run.OffsetBytes;
            BinaryPrimitives.WriteInt64BigEndian(place, run.OffsetBytes);
            BinaryPrimitives.WriteInt64BigEndian(place[sizeof(long)..], length);
            hash.AppendData(place);
            hash.AppendData(buffer.Slice((int)(run.OffsetBytes - itemOffset), (int)length));
            dataBytes += length;
        }

        if (hash is null)
        {
            return (0, null);
        }

        using (hash)
        {
            return (dataBytes, hash.GetHashAndReset());
        }
    }

    private Pending GroupAt(long offset)
    {
        long start = offset / groupBytes * groupBytes;
        if (!_groups.TryGetValue(start, out Pending? group))
        {
            group = new Pending();
            _groups.Add(start, group);
        }

        return group;
    }

    private void AddZeros(long start, long end)
    {
        for (long at = start; at < end;)
        {
            long groupStart = at / groupBytes * groupBytes;
            long groupEnd = groupStart + Math.Min(end - groupStart, groupBytes);
            GroupAt(at).Zeros.Add((at, groupEnd));
            at = groupEnd;
        }
    }

    private void Close(long beforeBytes)
    {
        while (_groups.Count > 0 && _groups.First() is { Key: var start } first && start < beforeBytes)
        {
            _groups.Remove(start);
            onGroup(first.Value.ToGroup(start));
        }
    }

    private sealed class Pending
    {
        public SortedDictionary<long, byte[]> Items { get; } = [];

        public List<(long Start, long End)> Zeros { get; } = [];

        public long DataBytes { get; set; }

        public BackupGroup ToGroup(long offset)
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            Span<byte> place = stackalloc byte[sizeof(long)];
            foreach ((long at, byte[] digest) in Items)
            {
                BinaryPrimitives.WriteInt64BigEndian(place, at);
                hash.AppendData(place);
                hash.AppendData(digest);
            }

            Zeros.Sort();
            long zeroBytes = 0;
            for (int i = 0; i < Zeros.Count; i++)
            {
                (long start, long end) = Zeros[i];
                while (i + 1 < Zeros.Count && Zeros[i + 1].Start <= end)
                {
                    end = Math.Max(end, Zeros[++i].End);
                }

                hash.AppendData([ZeroRun]);
                BinaryPrimitives.WriteInt64BigEndian(place, start);
                hash.AppendData(place);
                BinaryPrimitives.WriteInt64BigEndian(place, end);
                hash.AppendData(place);
                zeroBytes += end - start;
            }

            return new BackupGroup(offset, DataBytes, zeroBytes, hash.GetHashAndReset());
        }
    }
}
