using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Refuses to read, rename and delete some files, as permissions do, which a test that runs as root cannot set.</summary>
internal sealed class RefusingTrace : FileTrace, IDisposable
{
    private readonly Func<string, bool> _isRefused;

    /// <summary>Begins, for the test that runs.</summary>
    /// <param name="isRefused">Whether nothing may be done with a file now.</param>
    public RefusingTrace(Func<string, bool> isRefused)
    {
        _isRefused = isRefused;
        Current = this;
    }

    public override void Ask(string path)
    {
    }

    public override void Read(string path) => Refuse(path);

    public override void ChangeName(string path) => Refuse(path);

    public override void Create(string path)
    {
    }

    public override void Write(string path, long offset, ReadOnlySpan<byte> bytes)
    {
    }

    public override void Zero(string path, long offset, long length)
    {
    }

    public override void SetLength(string path, long length)
    {
    }

    public override void Flush(string path)
    {
    }

    public override void Rename(string path, string newPath)
    {
    }

    public override void Delete(string path)
    {
    }

    public override void FlushFolder(string folder)
    {
    }

    public void Dispose() => Current = null;

    private void Refuse(string path)
    {
        if (_isRefused(path))
        {
            throw new UnauthorizedAccessException($"Could not open '{path}': Permission denied");
        }
    }
}
