using System.Globalization;
using Qcow2Bitmaps.Tests.Hostile;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// What is done to a storage between two flushes, as the contents that each sector and the lengths that the file goes through.
/// </summary>
internal sealed class CrashEpoch
{
    private const int SectorBytes = 512;

    private readonly byte[] _start;
    private readonly int _operationsBefore;
    private readonly List<StorageOperation> _operations = [];
    private readonly SortedDictionary<int, SectorHistory> _sectors = [];
    // The lengths in the order in which the file may have had them, with the number of operations after which it had them.
    private readonly List<(int Length, int Operations)> _lengths;
    private byte[] _now;

    /// <summary>Starts after a flush.</summary>
    /// <param name="start">What is there for sure.</param>
    /// <param name="operationsBefore">How many operations came before, for descriptions.</param>
    public CrashEpoch(byte[] start, int operationsBefore)
    {
        _start = start;
        _now = start;
        _operationsBefore = operationsBefore;
        _lengths = [(start.Length, 0)];
    }

    /// <summary>What is there when all is done.</summary>
    public byte[] End => _now;

    public void Add(StorageOperation operation)
    {
        byte[] next = Apply(operation);
        int first = (int)(
            operation.Kind == StorageOperationKind.SetLength ? Math.Min(operation.Length, _now.Length) : operation.Offset) / SectorBytes;
        long end = operation.Kind == StorageOperationKind.SetLength
            ? Math.Max(next.Length, _now.Length)
            : operation.Offset + operation.Length;
        _operations.Add(operation);
        for (int sector = first; (long)sector * SectorBytes < Math.Min(end, Math.Max(next.Length, _now.Length)); sector++)
        {
            NoteSector(sector, next);
        }

        NoteLengths(next.Length);
        _now = next;
    }

    public IEnumerable<CrashState> States(ulong seed, int exhaustive, int samples)
    {
        SectorHistory[] sectors = [.. _sectors.Values.Where(static s => s.Versions.Count > 1)];
        var all = new int[sectors.Length + 1];
        double combinations = all[^1] = _lengths.Count - 1;
        combinations++;
        for (int i = 0; i < sectors.Length; i++)
        {
            all[i] = sectors[i].Versions.Count - 1;
            combinations *= sectors[i].Versions.Count;
        }

        IEnumerable<int[]> choices = combinations <= exhaustive ? EveryChoice(all) : SomeChoices(sectors, all, new SplitMix(seed), samples);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (int[] choice in choices)
        {
            // Sectors behind the end are not there, whatever was written to them. Nothing at all is what the epoch before has ended with.
            int length = _lengths[choice[^1]].Length;
            string key = string.Join(',', sectors.Select((s, i) => s.Offset < length ? choice[i] : 0).Append(length));
            if ((_operationsBefore == 0 || Array.Exists(choice, static c => c != 0)) && seen.Add(key))
            {
                yield return new CrashState(
                    Build(sectors, choice), Describe(sectors, choice, all), _operationsBefore, _operationsBefore + _operations.Count);
            }
        }
    }

    private byte[] Apply(StorageOperation operation)
    {
        var next = new byte[operation.Kind switch
        {
            StorageOperationKind.Write => Math.Max(_now.Length, operation.Length == 0 ? 0 : operation.Offset + operation.Length),
            StorageOperationKind.SetLength => operation.Length,
            _ => _now.Length,
        }];
        _now.AsSpan(0, Math.Min(_now.Length, next.Length)).CopyTo(next);
        if (operation.Kind == StorageOperationKind.Write)
        {
            operation.Bytes.CopyTo(next, operation.Offset);
        }
        else if (operation.Kind == StorageOperationKind.Discard)
        {
            int start = (int)Math.Min(operation.Offset, next.Length);
            next.AsSpan(start, (int)Math.Min(operation.Length, next.Length - start)).Clear();
        }

        return next;
    }

    private void NoteSector(int sector, byte[] next)
    {
        if (!_sectors.TryGetValue(sector, out SectorHistory? history))
        {
            _sectors.Add(sector, history = new SectorHistory(sector * (long)SectorBytes, SectorOf(_start, sector)));
        }

        history.Add(SectorOf(next, sector), _operations.Count);
    }

    private void NoteLengths(int next)
    {
        int now = _now.Length;
        if (next == now)
        {
            return;
        }

        // A write that makes the file grow may have got anywhere: its first sector, its middle, all but its last.
        int firstEnd = (now / SectorBytes * SectorBytes) + SectorBytes;
        int lastStart = (next - 1) / SectorBytes * SectorBytes;
        if (next > now && firstEnd < next)
        {
            foreach (int length in new SortedSet<int> { firstEnd, (firstEnd + lastStart) / 2 / SectorBytes * SectorBytes, lastStart })
            {
                _lengths.Add((length, _operations.Count - 1));
            }
        }

        _lengths.Add((next, _operations.Count));
    }

    private static byte[] SectorOf(byte[] content, int sector)
    {
        var bytes = new byte[SectorBytes];
        int start = sector * SectorBytes;
        if (start < content.Length)
        {
            content.AsSpan(start, Math.Min(SectorBytes, content.Length - start)).CopyTo(bytes);
        }

        return bytes;
    }

    private static IEnumerable<int[]> EveryChoice(int[] all)
    {
        var choice = new int[all.Length];
        while (true)
        {
            yield return [.. choice];
            int i = 0;
            while (i < choice.Length && choice[i] == all[i])
            {
                choice[i++] = 0;
            }

            if (i == choice.Length)
            {
                yield break;
            }

            choice[i]++;
        }
    }

    private IEnumerable<int[]> SomeChoices(SectorHistory[] sectors, int[] all, SplitMix random, int samples)
    {
        int length = all.Length - 1;
        yield return new int[all.Length];
        for (int operations = 1; operations < _operations.Count; operations++)
        {
            yield return [.. sectors.Select(s => s.LastAfter(operations)), _lengths.FindLastIndex(l => l.Operations <= operations)];
        }

        yield return all;
        for (int i = 0; i < all.Length; i++)
        {
            for (int version = 1; version <= all[i]; version++)
            {
                // A single one, and all but one; each with a file that has grown and so shows what is there.
                var one = new int[all.Length];
                one[length] = all[length];
                one[i] = version;
                yield return one;
                int[] others = [.. all];
                others[i] = version - 1;
                yield return others;
            }
        }

        for (int i = 0; i < samples; i++)
        {
            int eighths = random.Pick([1, 4, 7]);
            var choice = new int[all.Length];
            for (int j = 0; j < choice.Length; j++)
            {
                choice[j] = random.Below(8) >= eighths ? 0 : all[j] > 1 ? 1 + random.Below(all[j]) : all[j];
            }

            choice[length] = random.Below(4) == 0 ? random.Below(all[length] + 1) : all[length];
            yield return choice;
        }
    }

    private byte[] Build(SectorHistory[] sectors, int[] choice)
    {
        var content = new byte[_lengths[choice[^1]].Length];
        _start.AsSpan(0, Math.Min(_start.Length, content.Length)).CopyTo(content);
        for (int i = 0; i < sectors.Length; i++)
        {
            if (sectors[i].Offset < content.Length)
            {
                int offset = (int)sectors[i].Offset;
                sectors[i].Versions[choice[i]].Bytes.AsSpan(
                    0, Math.Min(SectorBytes, content.Length - offset)).CopyTo(content.AsSpan(offset));
            }
        }

        return content;
    }

    private string Describe(SectorHistory[] sectors, int[] choice, int[] all)
    {
        IEnumerable<string> written = sectors.Select((s, i) => choice[i] == 0
            ? ""
            : string.Create(CultureInfo.InvariantCulture, $"0x{s.Offset:x}{(all[i] > 1 ? $" version {choice[i]} of {all[i]}" : "")}"))
                .Where(static s => s.Length > 0);
        string unflushed = string.Join(", ", _operations);
        return string.Create(
            CultureInfo.InvariantCulture,
            $"operations 1 to {_operationsBefore} are there; of [{unflushed}], {sectors.Length} sectors changed, these are there: "
            + $"{{{string.Join(", ", written)}}}, length 0x{_lengths[choice[^1]].Length:x}");
    }
}
