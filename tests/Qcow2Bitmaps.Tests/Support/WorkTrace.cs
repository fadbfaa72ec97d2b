using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Counts what is done to files and looked up in their tables, and ends work that goes on for ever.</summary>
/// <param name="mostSteps">How many steps are allowed.</param>
internal sealed class WorkTrace(long mostSteps) : FileTrace
{
    private long _steps;
    private long _writtenBytes;

    /// <summary>How many calls there were.</summary>
    public long Steps => Interlocked.Read(ref _steps);

    /// <summary>How many bytes were written.</summary>
    public long WrittenBytes => Interlocked.Read(ref _writtenBytes);

    public override void Ask(string path) => Count();

    public override void Create(string path) => Count();

    public override void Write(string path, long offset, ReadOnlySpan<byte> bytes)
    {
        Count();
        Interlocked.Add(ref _writtenBytes, bytes.Length);
    }

    public override void Zero(string path, long offset, long length) => Count();

    public override void SetLength(string path, long length) => Count();

    public override void Flush(string path) => Count();

    public override void Rename(string path, string newPath) => Count();

    public override void Delete(string path) => Count();

    public override void FlushFolder(string folder) => Count();

    private void Count()
    {
        // Not an error that the tool knows how to tell.
        if (Interlocked.Increment(ref _steps) > mostSteps)
        {
            throw new InvalidOperationException($"More than {mostSteps} steps");
        }
    }
}
