using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>Changing tables in memory, and writing them. For one writer, who does one thing at a time.</summary>
internal sealed partial class GuestTables
{
    private readonly Dictionary<long, EditedL2Table> _edited = [];
    private readonly HashSet<long> _changedL1Sectors = [];

    /// <summary>How many L2 tables differ from the file, or may do so.</summary>
    public int EditedCount => _edited.Count;

    /// <summary>Reads the L1 table again, and forgets all others. Nothing may be changed and not written.</summary>
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

    /// <summary>Requires that the whole disk has entries in the L1 table, and that the file has them.</summary>
    /// <exception cref="Qcow2FormatException">It has not.</exception>
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

    /// <summary>Where the L2 table stands that an entry of the L1 table names; 0 without one.</summary>
    public ulong OffsetOf(long l1Index) => new L1Entry(_l1[l1Index]).L2TableOffset;

    /// <summary>Makes an L2 table that can be changed.</summary>
    /// <param name="l1Index">The index of its entry in the L1 table.</param>
    /// <param name="newOffset">A new cluster for it, where the table is not <see cref="IsOwned"/>; then the L1
    /// entry names that one from now on.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="Qcow2FormatException">The entry of the L1 table cannot be.</exception>
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

    /// <summary>Writes the L2 tables, makes them durable, then the entries of the L1 table that name new ones.</summary>
    /// <exception cref="IOException">The storage failed; in the file each entry is as before or as after.</exception>
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
