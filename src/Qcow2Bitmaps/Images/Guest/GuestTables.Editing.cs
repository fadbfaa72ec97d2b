using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>Changes tables in memory, and writes them. For one writer, with one operation at a time.</summary>
internal sealed partial class GuestTables
{
    private readonly Dictionary<long, EditedL2Table> _edited = [];
    private readonly HashSet<long> _changedL1Sectors = [];

    /// <summary>The number of L2 tables that differ, or may differ, from the file.</summary>
    public int EditedCount => _edited.Count;

    /// <summary>Reads the L1 table again, and drops all cached L2 tables. There must be no unwritten changes.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ReloadAsync(Qcow2Header header, CancellationToken cancellationToken)
    {
        ulong[] l1 = await BigEndianTable.ReadAsync(_storage, header.L1TableOffset, header.L1Size, cancellationToken).ConfigureAwait(false);
        lock (Gate)
        {
            Header = header;
            L1Offset = header.L1TableOffset;
            _l1 = l1;
            Array.Clear(_cache);
            _generation++;
        }
    }

    /// <summary>Throws unless the L1 table covers the whole disk and the file contains all of it.</summary>
    /// <exception cref="Qcow2FormatException">It does not.</exception>
    public void RequireWhole()
    {
        if (_l1.Length < Geometry.L1EntriesNeeded)
        {
            throw new Qcow2FormatException(
                Faults.Of(
                    FaultCode.L1TableTruncated, "L1 table", "entries up to the file's end", L1Offset, _l1.Length,
                    $"{Geometry.L1EntriesNeeded}, for a disk of {Geometry.VirtualSizeBytes} bytes"),
                _storage.Name);
        }
    }

    /// <summary>Whether an L2 table can be changed where it is.</summary>
    public bool IsOwned(long l1Index) => _edited.ContainsKey(l1Index) || new L1Entry(_l1[l1Index]) is { IsAllocated: true, IsCopied: true };

    /// <summary>The offset of the L2 table that an L1 entry refers to; 0 without one.</summary>
    public ulong OffsetOf(long l1Index) => new L1Entry(_l1[l1Index]).L2TableOffset;

    /// <summary>Gets an L2 table for changes.</summary>
    /// <param name="l1Index">The index of its entry in the L1 table.</param>
    /// <param name="newOffset">A new cluster for the table, if it is not <see cref="IsOwned"/>; the L1 entry then refers to the new
    /// cluster.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="Qcow2FormatException">The L1 entry is invalid.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<EditedL2Table> EditAsync(long l1Index, long? newOffset, CancellationToken cancellationToken)
    {
        if (_edited.TryGetValue(l1Index, out EditedL2Table? edited))
        {
            return edited;
        }

        ulong[]? current = await ReadAsync(l1Index, cancellationToken).ConfigureAwait(false);
        lock (Gate)
        {
            if (newOffset is { } offset)
            {
                edited = new EditedL2Table(offset, current?[..] ?? new ulong[Geometry.ClusterSizeBytes / sizeof(ulong)], isNew: true);
                _l1[l1Index] = L1Entry.Create((ulong)offset, isCopied: true).Raw;
                _changedL1Sectors.Add(l1Index * ImageGeometry.TableEntryBytes / SectorWrite.SectorBytes);
            }
            else
            {
                edited = new EditedL2Table((long)OffsetOf(l1Index), current!, isNew: false);
            }

            _edited.Add(l1Index, edited);
            _generation++;
        }

        return edited;
    }

    /// <summary>Writes the L2 tables, makes them durable, then writes the L1 entries of new ones.</summary>
    /// <exception cref="IOException">The storage failed; each entry in the file has its old or its new value.</exception>
    public async ValueTask WriteAsync(CancellationToken cancellationToken)
    {
        foreach (EditedL2Table table in _edited.Values.OrderBy(static table => table.Offset))
        {
            await table.WriteAsync(_storage, cancellationToken).ConfigureAwait(false);
        }

        await _storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        if (_changedL1Sectors.Count > 0)
        {
            var sector = new byte[SectorWrite.SectorBytes];
            foreach (long index in _changedL1Sectors.Order())
            {
                int first = (int)(index * SectorWrite.SectorBytes / ImageGeometry.TableEntryBytes);
                int count = Math.Min(SectorWrite.SectorBytes / ImageGeometry.TableEntryBytes, _l1.Length - first);
                for (int i = 0; i < count; i++)
                {
                    BinaryPrimitives.WriteUInt64BigEndian(sector.AsSpan(i * ImageGeometry.TableEntryBytes), _l1[first + i]);
                }

                await _storage.WriteAsync(
                    (long)L1Offset + (index * SectorWrite.SectorBytes), sector.AsMemory(0, count * ImageGeometry.TableEntryBytes),
                    cancellationToken).ConfigureAwait(false);
            }

            await _storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        lock (Gate)
        {
            foreach ((long l1Index, EditedL2Table table) in _edited)
            {
                _cache[l1Index % _cache.Length] = (table.Offset, table.Entries);
            }

            _edited.Clear();
            _changedL1Sectors.Clear();
            _generation++;
        }
    }
}
