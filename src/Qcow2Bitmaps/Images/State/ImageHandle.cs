using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.State;

/// <summary>
/// An open image for internal readers and writers: its storage, what opening has read, and the gate that serializes changes. Thread-safe.
/// </summary>
internal sealed class ImageHandle
{
    private volatile ImageContents _contents;
    // Whether the file may differ from the contents in memory.
    private volatile bool _isStale;

    private ImageHandle(ImageStorage storage, Strictness strictness, Qcow2Limits limits, ImageContents contents)
    {
        Storage = storage;
        Strictness = strictness;
        Limits = limits;
        _contents = contents;
    }

    public ImageStorage Storage { get; }

    public Strictness Strictness { get; }

    public Qcow2Limits Limits { get; }

    /// <summary>Held while the image is changed. Enter it through <see cref="EnterAsync"/>.</summary>
    public ImageGate Gate { get; } = new();

    /// <summary>What was read when the image was opened, or after the last change.</summary>
    public ImageContents Contents => _contents;

    public string Name => Storage.Name;

    public Qcow2Header Header => _contents.First.Header;

    public ImageGeometry Geometry => Header.Geometry;

    /// <summary>Opens an image.</summary>
    /// <exception cref="Qcow2Exception">The storage holds no supported image, or a broken one.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<ImageHandle> OpenAsync(
        ImageStorage storage, Strictness strictness, Qcow2Limits limits, CancellationToken cancellationToken) =>
        new(
            storage, strictness, limits,
            await ImageContents.ReadAsync(storage, strictness, limits, cancellationToken).ConfigureAwait(false));

    public FaultLog NewLog() => new(Strictness, Name);

    /// <summary>Waits until no other caller changes the image; the contents are then up to date.</summary>
    /// <returns>Must be disposed once, to admit the next caller.</returns>
    public async ValueTask<ImageGate.Release> EnterAsync(CancellationToken cancellationToken)
    {
        ImageGate.Release alone = await Gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_isStale)
            {
                await ReloadAsync().ConfigureAwait(false);
            }

            return alone;
        }
        catch
        {
            alone.Dispose();
            throw;
        }
    }

    /// <summary>Reads again what a change may have changed.</summary>
    public async ValueTask ReloadAsync()
    {
        _isStale = true;
        _contents = await ImageContents.ReadAsync(Storage, Strictness, Limits, CancellationToken.None).ConfigureAwait(false);
        _isStale = false;
    }

    /// <summary>
    /// Like <see cref="ReloadAsync"/>, but also after a storage failure: the current state on disk is used. If it cannot be read, the next
    /// caller to enter tries again.
    /// </summary>
    public async ValueTask ReloadAfterSwitchAsync() =>
        _ = await Leftovers.TidyAsync($"'{Name}' cannot be read again after a change of its metadata", ReloadAsync).ConfigureAwait(false);

    /// <summary>Runs a change of the file, then reloads the contents. If both fail, the first error is reported.</summary>
    public async ValueTask<T> ChangeAsync<T>(Func<ValueTask<T>> change)
    {
        T result;
        try
        {
            result = await change().ConfigureAwait(false);
        }
        catch
        {
            await ReloadAfterSwitchAsync().ConfigureAwait(false);
            throw;
        }

        await ReloadAsync().ConfigureAwait(false);
        return result;
    }

    /// <summary>
    /// Throws if a session keeps the bitmaps in memory: no other caller may then change the bitmaps, or the size or content of the disk
    /// that it records. The caller holds the gate.
    /// </summary>
    public void RequireNotRecorded()
    {
        if (Gate.Recorder is not null)
        {
            throw new InvalidOperationException(
                PrintableMessage.Of($"'{Name}': a recording session keeps the image's bitmaps in memory; change them there"));
        }
    }
}
