using System.Security.Cryptography;
using System.Text;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Records what the library does to the files of a folder, and lists what a stop could leave at any moment.</summary>
/// <remarks>
/// What was flushed is there. Of what was done to a file since, each sector of 512 bytes is old or new for itself, and so is the length.
/// Names change in order: of what was done to them since the folder was flushed a first part is there. A killed process leaves all that was
/// done. A file says that it was written when the last of what is there of it was.
/// </remarks>
internal sealed class RecordedFolder : FileTrace, IDisposable
{
    private const int SectorBytes = 512;

    private readonly Lock _gate = new();
    private readonly string _folder;
    private readonly Dictionary<string, RecordedFile> _start;
    private readonly List<(string Path, string? NewPath, StorageOperation? Operation, Int128 Written, NameChange Change)> _steps = [];

    /// <summary>Begins to record, for the test that runs.</summary>
    public RecordedFolder(string folder)
    {
        _folder = folder;
        _start = Directory.EnumerateFiles(folder).ToDictionary(
            static path => path, static path => new RecordedFile(File.ReadAllBytes(path), LastWrites.Of(path)), StringComparer.Ordinal);
        Current = this;
    }

    private enum NameChange
    {
        None,
        Create,
        Rename,
        Delete,
        Flush,
    }

    public int Count => _steps.Count;

    /// <summary>Ends the recording.</summary>
    public void Dispose() => Current = null;

    /// <summary>Lists what a stop could leave, each combination once.</summary>
    /// <param name="seed">Chooses what has reached the disk.</param>
    /// <param name="samples">How many losses of power are tried after each step.</param>
    public IEnumerable<FolderState> States(ulong seed, int samples)
    {
        var random = new SplitMix(seed);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        List<FileHistory> files = [.. _start.Values.Select(static content => new FileHistory(content))];
        var names = _start.Keys.Select((path, i) => KeyValuePair.Create(path, i)).ToDictionary(StringComparer.Ordinal);
        var durable = new Dictionary<string, int>(names, StringComparer.Ordinal);
        var pending = new List<(string Path, string? NewPath, int File, NameChange Change)>();
        for (int step = 0; step <= _steps.Count; step++)
        {
            for (int sample = 0; sample <= samples; sample++)
            {
                var now = new Dictionary<string, int>(durable, StringComparer.Ordinal);
                pending.Take(sample == 0 ? pending.Count : random.Below(pending.Count + 1)).ToList().ForEach(change => Apply(now, change));
                int eighths = sample == 0 ? 8 : random.Pick([0, 1, 4, 7, 8]);
                var contents = now.ToDictionary(
                    static name => name.Key, name => files[name.Value].Build(eighths, random), StringComparer.Ordinal);
                if (seen.Add(HashOf(contents)))
                {
                    yield return new FolderState(
                        contents,
                        $"step {step} of {_steps.Count} ({(step == 0 ? "" : Describe(_steps[step - 1]))}), "
                        + $"{(sample == 0 ? "killed" : $"loss of power {sample}")}");
                }
            }

            if (step == _steps.Count)
            {
                break;
            }

            (string path, string? newPath, StorageOperation? operation, Int128 written, NameChange kind) = _steps[step];
            if (operation is not null)
            {
                files[names[path]].Add(operation, written);
            }
            else if (kind == NameChange.Flush)
            {
                durable = new Dictionary<string, int>(names, StringComparer.Ordinal);
                pending.Clear();
            }
            else
            {
                if (kind == NameChange.Create)
                {
                    files.Add(new FileHistory(new RecordedFile([], 0)));
                }

                (string, string?, int, NameChange) change = (path, newPath, files.Count - 1, kind);
                Apply(names, change);
                pending.Add(change);
            }
        }
    }

    /// <summary>Makes the folder what a stop left. Files that stay are the same ones.</summary>
    public void GoTo(FolderState state)
    {
        foreach (string path in Directory.EnumerateFiles(_folder).Where(path => !state.Files.ContainsKey(path)))
        {
            File.Delete(path);
        }

        foreach ((string path, RecordedFile file) in state.Files)
        {
            File.WriteAllBytes(path, file.Content);
            LastWrites.Set(path, file.LastWrite);
        }
    }

    public override void Create(string path) => Note(path, NameChange.Create);

    public override void Write(string path, long offset, ReadOnlySpan<byte> bytes) =>
        Note(path, StorageOperation.Write(offset, bytes.ToArray()));

    public override void Zero(string path, long offset, long length) => Note(path, StorageOperation.Discard(offset, length));

    public override void SetLength(string path, long length) => Note(path, StorageOperation.SetLength(length));

    public override void Flush(string path) => Note(path, StorageOperation.Flush());

    public override void Rename(string path, string newPath) => Note(path, NameChange.Rename, newPath);

    public override void Delete(string path) => Note(path, NameChange.Delete);

    public override void FlushFolder(string folder) => Note(folder, NameChange.Flush);

    private void Note(string path, StorageOperation operation)
    {
        lock (_gate)
        {
            _steps.Add((Path.GetFullPath(path), null, operation, LastWrites.Of(path), NameChange.None));
        }
    }

    private void Note(string path, NameChange change, string? newPath = null)
    {
        lock (_gate)
        {
            _steps.Add((Path.GetFullPath(path), newPath is null ? null : Path.GetFullPath(newPath), null, 0, change));
        }
    }

    private static void Apply(Dictionary<string, int> names, (string Path, string? NewPath, int File, NameChange Change) change)
    {
        if (change.Change == NameChange.Create)
        {
            names[change.Path] = change.File;
            return;
        }

        if (names.Remove(change.Path, out int file) && change.NewPath is not null)
        {
            names[change.NewPath] = file;
        }
    }

    private static string Describe((string Path, string? NewPath, StorageOperation? Operation, Int128 Written, NameChange Change) step) =>
        $"{Path.GetFileName(step.Path)}: {(step.Operation is null ? $"{step.Change} {Path.GetFileName(step.NewPath)}" : step.Operation)}";

    private static string HashOf(Dictionary<string, RecordedFile> files)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string path, RecordedFile file) in files.OrderBy(static file => file.Key, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{path}\0{file.Content.Length}\0"));
            hash.AppendData(file.Content);
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    /// <summary>A file: what is durable, and what was done since.</summary>
    private sealed class FileHistory(RecordedFile durable)
    {
        private readonly List<(StorageOperation Operation, Int128 Written)> _pending = [];
        private RecordedFile _durable = durable;

        public void Add(StorageOperation operation, Int128 written)
        {
            if (operation.Kind == StorageOperationKind.Flush)
            {
                _durable = Build(8, new SplitMix(0));
                _pending.Clear();
            }
            else
            {
                _pending.Add((operation, written));
            }
        }

        /// <summary>The file with so many eighths of the sectors that were changed since.</summary>
        public RecordedFile Build(int eighths, SplitMix random)
        {
            using var content = new MemoryStream();
            content.Write(_durable.Content);
            Int128 lastWrite = _durable.LastWrite;
            foreach ((StorageOperation operation, Int128 written) in _pending)
            {
                if (operation.Kind == StorageOperationKind.SetLength)
                {
                    if (random.Below(8) < eighths)
                    {
                        content.SetLength(operation.Length);
                        lastWrite = written;
                    }

                    continue;
                }

                for (long at = operation.Offset; at < operation.Offset + operation.Length;)
                {
                    long end = Math.Min(operation.Offset + operation.Length, (at / SectorBytes * SectorBytes) + SectorBytes);
                    if (random.Below(8) < eighths)
                    {
                        Put(content, operation, at, end);
                        lastWrite = written;
                    }

                    at = end;
                }
            }

            return new RecordedFile(content.ToArray(), lastWrite);
        }

        private static void Put(MemoryStream content, StorageOperation operation, long at, long end)
        {
            if (operation.Kind == StorageOperationKind.Discard)
            {
                end = Math.Min(end, content.Length);
                if (at >= end)
                {
                    return;
                }
            }

            content.Position = at;
            content.Write(operation.Kind == StorageOperationKind.Discard
                ? new byte[end - at]
                : operation.Bytes.AsSpan((int)(at - operation.Offset), (int)(end - at)));
        }
    }
}
