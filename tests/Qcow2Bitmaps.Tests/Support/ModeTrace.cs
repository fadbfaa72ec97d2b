using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Looks at the modes of files while they are made: at each moment, and under each name that they have meanwhile.</summary>
internal sealed class ModeTrace : FileTrace, IDisposable
{
    private readonly Lock _gate = new();

    /// <summary>Begins, for the test that runs.</summary>
    public ModeTrace() => Current = this;

    /// <summary>All bits that a file of each name ever had.</summary>
    public Dictionary<string, int> Modes { get; } = new(StringComparer.Ordinal);

    public void Dispose() => Current = null;

    public override void Create(string path)
    {
        lock (_gate)
        {
            Modes.TryAdd(path, 0);
        }

        Look(path);
    }

    public override void Write(string path, long offset, ReadOnlySpan<byte> bytes) => Look(path);

    public override void Zero(string path, long offset, long length) => Look(path);

    public override void SetLength(string path, long length) => Look(path);

    public override void Flush(string path) => Look(path);

    public override void Rename(string path, string newPath)
    {
        lock (_gate)
        {
            if (Modes.TryGetValue(path, out int mode))
            {
                Modes[newPath] = mode;
            }
        }

        Look(newPath);
    }

    public override void Delete(string path)
    {
    }

    public override void FlushFolder(string folder)
    {
    }

    private void Look(string path)
    {
        lock (_gate)
        {
            if (!OperatingSystem.IsWindows() && Modes.TryGetValue(path, out int mode) && Path.Exists(path))
            {
                Modes[path] = mode | (int)File.GetUnixFileMode(path);
            }
        }
    }
}
