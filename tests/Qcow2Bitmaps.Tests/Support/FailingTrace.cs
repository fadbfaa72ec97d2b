using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// Lets what is done to files fail once. Writes and the like fail when they have been done, as the kernel says of a disk that answers too
/// late; reads, and changes of names, before they are. Reads count only once something was written: what fails before has not happened.
/// </summary>
internal sealed class FailingTrace : FileTrace, IDisposable
{
    private volatile bool _isWritten;
    private int _failingStep;
    private int _steps;

    /// <summary>Begins, for the test that runs.</summary>
    /// <param name="failingStep">Which step fails, from 1; 0 for none.</param>
    public FailingTrace(int failingStep)
    {
        _failingStep = failingStep;
        Current = this;
    }

    /// <summary>What failed; null where nothing has.</summary>
    public string? Failed { get; private set; }

    /// <summary>Counts steps from here on.</summary>
    /// <param name="failingStep">Which step fails, from 1.</param>
    public void FailAt(int failingStep)
    {
        _isWritten = false;
        _steps = 0;
        _failingStep = failingStep;
    }

    public override void Ask(string path)
    {
    }

    public override void Read(string path)
    {
        if (_isWritten)
        {
            Step("read", path);
        }
    }

    public override void ChangeName(string path) => Step("name", path);

    /// <summary>Never fails, as one that fails has not happened, and this is told when it has.</summary>
    public override void Create(string path)
    {
    }

    public override void Write(string path, long offset, ReadOnlySpan<byte> bytes)
    {
        _isWritten = true;
        Step($"write {bytes.Length} at {offset}", path);
    }

    public override void Zero(string path, long offset, long length) => Step($"zero {length} at {offset}", path);

    public override void SetLength(string path, long length) => Step($"length {length}", path);

    public override void Flush(string path) => Step("flush", path);

    public override void Rename(string path, string newPath)
    {
    }

    public override void Delete(string path)
    {
    }

    public override void FlushFolder(string folder) => Step("flush folder", folder);

    public void Dispose() => Current = null;

    private void Step(string what, string path)
    {
        if (Interlocked.Increment(ref _steps) != _failingStep)
        {
            return;
        }

        Failed = $"{what}: {Path.GetFileName(path)}";
        throw new IOException("Input/output error", 5);
    }
}
