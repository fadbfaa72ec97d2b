namespace Qcow2Bitmaps.Storage;

/// <summary>
/// Is told, in order, what is done to files and their names, after it was done: for tests that replay what a stop at any
/// moment would leave. Called from any thread.
/// </summary>
/// <remarks>Set per async flow (<see cref="Current"/>) and taken when a file is opened, so that writes cost nothing more.</remarks>
internal abstract class FileTrace
{
    private static readonly AsyncLocal<FileTrace?> s_current = new();

    /// <summary>Who is told of what is done from here on, in this call and those that it makes; null for nobody.</summary>
    public static FileTrace? Current
    {
        get => s_current.Value;
        set => s_current.Value = value;
    }

    /// <summary>
    /// Bytes of a file were read or its holes asked for, or one of its tables in memory was looked up: what is to be counted
    /// where work has to follow what is allocated.
    /// </summary>
    public virtual void Ask(string path)
    {
    }

    /// <summary>Bytes of a file are about to be read. A test may let that fail.</summary>
    public virtual void Read(string path) => Ask(path);

    /// <summary>A file is about to get another name, or to lose its name. A test may let that fail.</summary>
    public virtual void ChangeName(string path)
    {
    }

    /// <summary>A file was made, with nothing in it.</summary>
    public abstract void Create(string path);

    /// <summary>Bytes were written.</summary>
    public abstract void Write(string path, long offset, ReadOnlySpan<byte> bytes);

    /// <summary>A range reads as zeros now, or may do so; the length is as before.</summary>
    public abstract void Zero(string path, long offset, long length);

    /// <summary>The length was changed.</summary>
    public abstract void SetLength(string path, long length);

    /// <summary>The file's bytes and its length are durable.</summary>
    public abstract void Flush(string path);

    /// <summary>The file has another name; what had that is gone.</summary>
    public abstract void Rename(string path, string newPath);

    /// <summary>The name is gone.</summary>
    public abstract void Delete(string path);

    /// <summary>The names of a folder are durable.</summary>
    public abstract void FlushFolder(string folder);
}
