using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Looks through the entries of L2 tables. Pure.</summary>
internal sealed class L2Scan(string imageName, Qcow2Header header)
{
    private readonly ImageGeometry _geometry = header.Geometry;
    // Clusters of guest data in an external data file are not counted.
    private readonly bool _isCounted = !header.HasExternalDataFile;

    /// <summary>Lists the clusters of the file that entries of a table refer to, adjacent ones joined; each cluster once per
    /// reference.</summary>
    /// <param name="tableOffset">The table's offset, for messages.</param>
    /// <param name="table">The table's bytes, or those from some entry on.</param>
    /// <param name="clusters">Takes the clusters; emptied first.</param>
    /// <exception cref="Qcow2FormatException">An entry is invalid.</exception>
    public void List(long tableOffset, ReadOnlySpan<byte> table, List<ClusterRange> clusters)
    {
        clusters.Clear();
        if (!_isCounted)
        {
            return;
        }

        int words = _geometry.L2EntryBytes / sizeof(ulong);
        ReadOnlySpan<ulong> entries = MemoryMarshal.Cast<byte, ulong>(table);
        ClusterRange run = default;
        for (int i = 0; i < entries.Length; i += words)
        {
            if (entries[i] == 0)
            {
                int skipped = entries[i..].IndexOfAnyExcept(0UL);
                if (skipped < 0)
                {
                    break;
                }

                i = (i + skipped) / words * words;
            }

            var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(table[(i * sizeof(ulong))..]));
            ClusterRange named = entry.IsCompressed ? OfCompressed(entry) : OfNormal(entry, tableOffset + (i * sizeof(ulong)));
            if (named.Count == 0)
            {
                continue;
            }

            if (run.Count > 0 && run.End == named.First)
            {
                run = run with { Count = run.Count + named.Count };
                continue;
            }

            if (run.Count > 0)
            {
                clusters.Add(run);
            }

            run = named;
        }

        if (run.Count > 0)
        {
            clusters.Add(run);
        }
    }

    /// <summary>Clears the "copied" flags, which say that a cluster has only one reference.</summary>
    /// <returns>Whether any was set.</returns>
    public bool ClearCopied(Span<byte> table)
    {
        bool wasSet = false;
        for (int i = 0; i < table.Length; i += _geometry.L2EntryBytes)
        {
            // The flag is the highest bit of the first byte; compressed clusters never have it.
            if ((table[i] & 0x80) != 0)
            {
                table[i] &= 0x7f;
                wasSet = true;
            }
        }

        return wasSet;
    }

    /// <summary>The cluster that an entry and its "copied" flag refer to; null if there is none.</summary>
    public HostCluster? HostClusterOf(ReadOnlySpan<byte> entryBytes)
    {
        var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(entryBytes));
        return !_isCounted || entry.IsCompressed || entry.HostOffset == 0 ? null : _geometry.ClusterAt(entry.HostOffset);
    }

    /// <summary>Sets or clears the flag of an entry.</summary>
    /// <returns>Whether the flag changed.</returns>
    public static bool SetCopied(Span<byte> entryBytes, bool value)
    {
        byte wanted = (byte)(value ? entryBytes[0] | 0x80 : entryBytes[0] & 0x7f);
        bool isChanged = entryBytes[0] != wanted;
        entryBytes[0] = wanted;
        return isChanged;
    }

    private ClusterRange OfCompressed(L2Entry entry)
    {
        CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
        return ClusterRange.Of(_geometry, descriptor.HostOffset, descriptor.LengthBytes);
    }

    private ClusterRange OfNormal(L2Entry entry, long entryOffset)
    {
        if (entry.HostOffset == 0)
        {
            return default;
        }

        return _geometry.IsClusterAligned(entry.HostOffset)
            ? new ClusterRange(_geometry.ClusterAt(entry.HostOffset), 1)
            : throw new Qcow2FormatException(
                Faults.OfHex(
                    FaultCode.L2EntryUnaligned, "L2 table", "entry", (ulong)entryOffset, entry.Raw,
                    $"an offset that is a multiple of {_geometry.ClusterSizeBytes}; a check lists what is broken"),
                imageName);
    }
}
