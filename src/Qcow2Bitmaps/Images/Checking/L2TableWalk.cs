namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Reads L2 tables in file order, contiguous ones together, and skips holes in them.</summary>
internal sealed class L2TableWalk(TableScanner scanner, IReadOnlyList<L2Table> tables, int tableBytes, bool activeOnly, FindingLog log)
{
    private int _index = -1;
    private int _nextRun;
    private long _position;
    private long _runEnd;
    private TablePiece _piece;

    /// <summary>The table that <see cref="Bytes"/> belong to.</summary>
    public L2Table Table => tables[_index];

    /// <summary>Where in the table they start.</summary>
    public int OffsetInTable { get; private set; }

    /// <summary>A piece of the table; the caller may change it, and must write it then.</summary>
    public Memory<byte> Bytes { get; private set; }

    public async ValueTask<bool> MoveNextAsync(CancellationToken cancellationToken)
    {
        while (_position >= _piece.EndOffset || _position >= _runEnd)
        {
            if (_position >= _runEnd && !StartRun())
            {
                return false;
            }

            _piece = await scanner.NextAsync(_position, _runEnd, cancellationToken).ConfigureAwait(false);
            if (scanner.TakeRefusal())
            {
                log.Fail(
                    $"The tables from offset 0x{_position:x} to 0x{_runEnd:x} are not checked: tables overlap, "
                    + $"together they are longer than the file");
            }

            _position = _piece.Bytes.IsEmpty ? _runEnd : _piece.Offset;
        }

        while (_position >= tables[_index].Offset + tableBytes)
        {
            _index++;
        }

        long end = Math.Min(tables[_index].Offset + tableBytes, _piece.EndOffset);
        OffsetInTable = (int)(_position - tables[_index].Offset);
        Bytes = _piece.Bytes.Slice((int)(_position - _piece.Offset), (int)(end - _position));
        _position = end;
        return true;
    }

    private bool StartRun()
    {
        _index = _nextRun;
        while (_index < tables.Count && !IsWanted(_index))
        {
            _index++;
        }

        if (_index == tables.Count)
        {
            return false;
        }

        _nextRun = _index + 1;
        while (_nextRun < tables.Count && IsWanted(_nextRun) && tables[_nextRun].Offset == tables[_nextRun - 1].Offset + tableBytes)
        {
            _nextRun++;
        }

        _position = tables[_index].Offset;
        _runEnd = tables[_nextRun - 1].Offset + tableBytes;
        return true;
    }

    private bool IsWanted(int index) => !activeOnly || tables[index] is { ActiveTimes: > 0, Offset: > 0 };
}
