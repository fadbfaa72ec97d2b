namespace Qcow2Bitmaps.Storage;

/// <summary>
/// Is notified, in order, of changes to files and file names after they happened: for tests that replay the state after an interruption at
/// any point. Called from any thread.
/// </summary>
/// <remarks>Set per async flow (<see cref="Current"/>) and taken when a file is opened, so that writes cost nothing more.</remarks>
internal abstract class FileTrace
{
    private static readonly AsyncLocal<FileTrace?> s_current = new();

    /// <summary>The observer of this call and the calls that it makes; null for none.</summary>
    public static FileTrace? Current
    {
        get => s_current.Value;
        set => s_current.Value = value;
    }

    /// <summary>
    /// A file's bytes were read, its holes were queried, or one of its cached tables was looked up: lets tests count work that must be
    /// proportional to what is allocated.
    /// </summary>
    public virtual void Ask(string path)
    {
    }

    /// <summary>Bytes of a file are about to be read. A test may let that fail.</summary>
    public virtual void Read(string path) => Ask(path);

    /// <summary>A file is about to be renamed or deleted. A test may make that fail.</summary>
    public virtual void ChangeName(string path)
    {
    }

    /// <summary>An empty file was created.</summary>
    public abstract void Create(string path);

    /// <summary>Bytes were written.</summary>
    public abstract void Write(string path, long offset, ReadOnlySpan<byte> bytes);

    /// <summary>A range now reads as zeros, or may do so; the length is unchanged.</summary>
    public abstract void Zero(string path, long offset, long length);

    /// <summary>The length was changed.</summary>
    public abstract void SetLength(string path, long length);

    /// <summary>The file's bytes and its length are durable.</summary>
    public abstract void Flush(string path);

    /// <summary>The file was renamed; a file that had the new name is replaced.</summary>
    public abstract void Rename(string path, string newPath);

    /// <summary>The name was deleted.</summary>
    public abstract void Delete(string path);

    /// <summary>The names of a folder are durable.</summary>
    public abstract void FlushFolder(string folder);
}
