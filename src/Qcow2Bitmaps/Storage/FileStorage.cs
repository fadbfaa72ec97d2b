using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>A regular file or a block device as storage.</summary>
/// <remarks>
/// Thread-safe: reads and writes are positional. On Linux only regular files and block devices are opened (the type is checked before
/// opening), paths may contain bytes that are not UTF-8 (<see cref="ImageText"/>), and the locks are QEMU's. On other systems a plain file
/// is opened, without locks that QEMU would see.
/// </remarks>
internal sealed class FileStorage : ImageStorage
{
    private readonly SafeFileHandle _file;
    private readonly string _path;
    private readonly FileTrace? _trace = FileTrace.Current;
    private volatile bool _cannotClone;

    private FileStorage(SafeFileHandle file, string path, FileAccess access)
    {
        _file = file;
        _path = path;
        CanWrite = access == FileAccess.ReadWrite;
    }

    /// <inheritdoc/>
    public override string Name => _path;

    /// <inheritdoc/>
    public override bool CanWrite { get; }

    /// <summary>Whether <see cref="DiscardAsync"/> keeps the space of the range.</summary>
    public bool IgnoresDiscards { get; set; }

    /// <inheritdoc/>
    public override long? CapacityBytes => IsBlockDevice ? Length : null;

    /// <inheritdoc/>
    public override object? Identity =>
        LinuxNative.IsSupported ? LinuxFile.Identity(LinuxFile.Facts(_file, _path)).Value : null;

    /// <inheritdoc/>
    public override long? AllocatedBytes =>
        LinuxNative.IsSupported ? (long)LinuxFile.Facts(_file, _path).Blocks512 * 512 : null;

    /// <inheritdoc/>
    internal override Int128? LastWrite
    {
        get
        {
            if (!LinuxNative.IsSupported)
            {
                return null;
            }

            LinuxNative.FileFacts facts = LinuxFile.Facts(_file, _path);
            // A device node's times say nothing about the device.
            return LinuxFile.IsBlockDevice(facts) ? null : ((Int128)facts.LastWriteSeconds * 1_000_000_000) + facts.LastWriteNanoseconds;
        }
    }

    /// <inheritdoc/>
    internal override FileSource? AsSource() => LinuxNative.IsSupported ? FileSource.Of(_file, _path) : null;

    /// <inheritdoc/>
    public override long Length
    {
        get
        {
            if (!LinuxNative.IsSupported)
            {
                return RandomAccess.GetLength(_file);
            }

            // stat reports no size for a block device; seeking to its end yields it. Nothing here uses the cursor.
            long end = LinuxNative.Seek(_file, 0, LinuxNative.SeekEnd);
            return end >= 0
                ? end
                : throw IOException.Of($"'{_path}': {Marshal.GetLastPInvokeErrorMessage()}", Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Opens a file or block device that exists.</summary>
    /// <param name="path">The path.</param>
    /// <param name="access">What it is opened for.</param>
    /// <param name="imageLock">The locks to take; they are held until the storage is disposed.</param>
    /// <returns>The storage.</returns>
    /// <exception cref="ImageLockedException">Another party's lock conflicts with this access.</exception>
    /// <exception cref="IOException">The file does not exist, is not a regular file or block device, or cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions of the file forbid it.</exception>
    public static FileStorage Open(string path, FileAccess access = FileAccess.Read, ImageLock imageLock = ImageLock.Read) =>
        Open(path, access, imageLock, mayOpen: null);

    /// <summary>Opens a file or block device for writing, with a writer's locks; creates a regular file if there is none.</summary>
    /// <param name="path">The path. A dangling symbolic link is an error: no file is created at its target.</param>
    /// <param name="isNew">Whether the file was made. An existing file keeps its bytes.</param>
    /// <returns>The storage.</returns>
    /// <exception cref="ImageLockedException">The file is open elsewhere.</exception>
    /// <exception cref="IOException">The path leads to something other than a regular file or a block device, or is a dangling link; or the
    /// file cannot be created or opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions of the file or the folder forbid it.</exception>
    public static FileStorage Create(string path, out bool isNew) => Create(path, FileRights.Plain, out isNew);

    /// <summary>Like the public method, with the permissions that a new file gets from its sources.</summary>
    internal static FileStorage Create(string path, FileRights rights, out bool isNew)
    {
        ArgumentNullException.ThrowIfNull(path);
        SafeFileHandle? made = LinuxNative.IsSupported ? rights.CreateNew(path) : CreateElsewhere(path);
        isNew = made is not null;
        if (made is null)
        {
            return Open(path, FileAccess.ReadWrite, ImageLock.Write);
        }

        FileTrace.Current?.Create(path);
        return Lock(made, path, FileAccess.ReadWrite, ImageLock.Write);
    }

    /// <summary>Like the public method; <paramref name="mayOpen"/> receives the real path before the file is opened, and may
    /// throw.</summary>
    internal static FileStorage Open(string path, FileAccess access, ImageLock imageLock, Action<FilePlace>? mayOpen)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (access is not (FileAccess.Read or FileAccess.ReadWrite))
        {
            throw new ArgumentOutOfRangeException(nameof(access), access, "An image is opened for reading, or for reading and writing");
        }

        SafeFileHandle file = LinuxNative.IsSupported
            ? OpenOnLinux(path, access, mayOpen)
            : OpenElsewhere(path, access);
        return Lock(file, path, access, imageLock);
    }

    /// <summary>A handle to read a regular file or a block device by, without locks.</summary>
    internal static SafeFileHandle OpenToRead(string path) =>
        LinuxNative.IsSupported ? OpenOnLinux(path, FileAccess.Read, mayOpen: null) : OpenElsewhere(path, FileAccess.Read);

    /// <summary>Which file or device a path leads to; null when there is nothing, or when that is not known.</summary>
    /// <exception cref="IOException">The path cannot be followed.</exception>
    internal static StorageIdentity? IdentityOf(string path)
    {
        if (!LinuxNative.IsSupported)
        {
            return null;
        }

        try
        {
            using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
            return LinuxFile.Identity(LinuxFile.Facts(pathOnly, path));
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Removes the file's name, if the path still leads to it; the storage stays open.</summary>
    /// <exception cref="IOException">The name cannot be removed.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions of the folder forbid it.</exception>
    internal void Delete()
    {
        _trace?.ChangeName(_path);
        if (LinuxNative.IsSupported)
        {
            LinuxFile.Delete(_file, _path);
        }
        else
        {
            File.Delete(_path);
        }

        _trace?.Delete(_path);
    }

    /// <inheritdoc/>
    public override bool IsOpenForWritingElsewhere() => OfdLocks.IsWriterElsewhere(_file);

    /// <inheritdoc/>
    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        _trace?.Read(_path);
        Span<byte> rest = buffer.Span;
        while (!rest.IsEmpty)
        {
            int read = RandomAccess.Read(_file, rest, offset + (buffer.Length - rest.Length));
            if (read == 0)
            {
                break;
            }

            rest = rest[read..];
        }

        return ValueTask.FromResult(buffer.Length - rest.Length);
    }

    /// <inheritdoc/>
    public override ValueTask<StorageRange?> FindDataAsync(long offset, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (!LinuxNative.IsSupported)
        {
            return base.FindDataAsync(offset, cancellationToken);
        }

        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        _trace?.Ask(_path);
        long start = LinuxNative.Seek(_file, offset, LinuxNative.SeekData);
        if (start < 0)
        {
            // Any other error: the file system knows of no holes.
            return Marshal.GetLastPInvokeError() == LinuxNative.ErrorNoSuchAddress
                ? ValueTask.FromResult<StorageRange?>(null)
                : base.FindDataAsync(offset, cancellationToken);
        }

        long end = LinuxNative.Seek(_file, start, LinuxNative.SeekHole);
        return ValueTask.FromResult<StorageRange?>(new StorageRange(start, end > start ? end : Length));
    }

    /// <inheritdoc/>
    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        try
        {
            RandomAccess.Write(_file, buffer.Span, offset);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw TooLarge(offset + buffer.Length, e);
        }
        catch (IOException e)
        {
            // The system's message does not name the file, as it was not opened by its path.
            var failure = IOException.Of($"Could not write '{_path}' at byte {offset}: {e}", e);
            failure.HResult = e.HResult;
            throw failure;
        }

        _trace?.Write(_path, offset, buffer.Span);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        RandomAccess.FlushToDisk(_file);
        _trace?.Flush(_path);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    internal override ValueTask BeginWriteBackAsync(long offset, long length, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (LinuxNative.IsSupported)
        {
            // If starting fails, the later flush still writes it and reports errors.
            _ = LinuxNative.SyncFileRange(_file, offset, length, LinuxNative.SyncFileRangeWrite);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        if (IsBlockDevice)
        {
            throw IOException.Of($"'{_path}' is a block device of {Length} bytes, which cannot be given a length of {length}");
        }

        ArgumentOutOfRangeException.ThrowIfNegative(length);
        // Cutting a file to nothing, even an empty one, makes ext4 write all that follows to the disk when the file is closed.
        if (length == 0 && RandomAccess.GetLength(_file) == 0)
        {
            return ValueTask.CompletedTask;
        }

        try
        {
            RandomAccess.SetLength(_file, length);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw TooLarge(length, e);
        }

        _trace?.SetLength(_path, length);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        // A device whose sectors are larger than the discarded range reports "invalid argument".
        if (!IgnoresDiscards
            && LinuxNative.IsSupported
            && length > 0
            && !LinuxFile.TryPunchHole(_file, offset, length, out int error)
            && !LinuxFile.IsUnsupported(error))
        {
            throw IOException.Of(
                $"'{_path}': Could not discard {length} bytes at offset {offset}: {Marshal.GetPInvokeErrorMessage(error)}", error);
        }

        if (!IgnoresDiscards)
        {
            _trace?.Zero(_path, offset, length);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    internal override ValueTask<bool> TryZeroAsync(long offset, long length, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        // A hole reads as zeros, of files and of devices; whatever the error, zeros can still be written.
        bool isZero = LinuxNative.IsSupported && length > 0 && LinuxFile.TryPunchHole(_file, offset, length, out _);
        if (isZero)
        {
            _trace?.Zero(_path, offset, length);
        }

        return ValueTask.FromResult(isZero);
    }

    /// <inheritdoc/>
    internal override ValueTask<bool> TryCloneAsync(BytesOrigin origin, long offset, long length, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        if (_cannotClone
            || _trace is not null
            || origin.Storage is not FileStorage source
            || !LinuxFile.IsCloneable(origin.Offset, offset, length))
        {
            return ValueTask.FromResult(false);
        }

        // Most file systems cannot, and most cannot from one to another; whatever the error, the bytes can still be written.
        bool isDone = LinuxFile.TryClone(_file, source._file, origin.Offset, offset, length);
        if (!isDone)
        {
            _cannotClone = true;
        }

        return ValueTask.FromResult(isDone);
    }

    /// <inheritdoc/>
    internal override ValueTask<bool> TryAllocateAsync(long offset, long length, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequireWritable();
        return ValueTask.FromResult(LinuxNative.IsSupported && LinuxFile.TryAllocate(_file, _path, offset, length, cancellationToken));
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        // A child process that is being started shares the open file until it runs its program, and would keep the locks so long.
        OfdLocks.Release(_file);
        _file.Dispose();
        return ValueTask.CompletedTask;
    }

    private static SafeFileHandle OpenOnLinux(string path, FileAccess access, Action<FilePlace>? mayOpen)
    {
        using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
        FilePlace place = FilePlace.Of(pathOnly, path);
        mayOpen?.Invoke(place);
        return LinuxFile.Reopen(pathOnly, path, access);
    }

    private static FileStorage Lock(SafeFileHandle file, string path, FileAccess access, ImageLock imageLock)
    {
        try
        {
            OfdLocks.Acquire(file, path, imageLock);
            return new FileStorage(file, path, access);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static SafeFileHandle OpenElsewhere(string path, FileAccess access) => File.OpenHandle(
        path, FileMode.Open, access, FileShare.ReadWrite | FileShare.Delete);

    private static SafeFileHandle? CreateElsewhere(string path)
    {
        try
        {
            return File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (IOException) when (Path.Exists(path))
        {
            return null;
        }
    }

    private bool IsBlockDevice => LinuxNative.IsSupported && LinuxFile.IsBlockDevice(LinuxFile.Facts(_file, _path));

    /// <summary>.NET reports a file too large for its file system as an argument error; it is an I/O error.</summary>
    private IOException TooLarge(long length, Exception inner) =>
        IOException.Of($"'{_path}': the file system has no files of {length} bytes", inner);

    private void RequireWritable()
    {
        if (!CanWrite)
        {
            throw new NotSupportedException(PrintableMessage.Of($"'{_path}' is open for reading only"));
        }
    }
}
