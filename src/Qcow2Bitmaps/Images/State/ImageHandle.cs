using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.State;

/// <summary>
/// An open image for those who read and change it: its storage, what opening has read, and the gate that they take turns at. Thread-safe.
/// </summary>
internal sealed class ImageHandle
{
    private volatile ImageContents _contents;
    // Whether the file may say something else.
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

    /// <summary>Held by whoever changes the image. To be entered through <see cref="EnterAsync"/>.</summary>
    public ImageGate Gate { get; } = new();

    /// <summary>What was read when the image was opened, or after the last change.</summary>
    public ImageContents Contents => _contents;

    public string Name => Storage.Name;

    public Qcow2Header Header => _contents.First.Header;

    public ImageGeometry Geometry => Header.Geometry;

    /// <summary>Reads what an image says.</summary>
    /// <exception cref="Qcow2Exception">The storage holds no image that is known here, or a broken one.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<ImageHandle> OpenAsync(
        ImageStorage storage, Strictness strictness, Qcow2Limits limits, CancellationToken cancellationToken) =>
        new(
            storage, strictness, limits,
            await ImageContents.ReadAsync(storage, strictness, limits, cancellationToken).ConfigureAwait(false));

    public FaultLog NewLog() => new(Strictness, Name);

    /// <summary>Waits until nobody else changes the image, and knows then what is on disk.</summary>
    /// <returns>To be disposed once, to let the next one in.</returns>
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
    /// As <see cref="ReloadAsync"/>, also when the storage failed: what is on disk now counts. Where it
    /// cannot be read, who enters next tries again.
    /// </summary>
    public async ValueTask ReloadAfterSwitchAsync() =>
        _ = await Leftovers.TidyAsync($"'{Name}' cannot be read again after a change of its metadata", ReloadAsync).ConfigureAwait(false);

    /// <summary>Does something that changes what the file says, and reads it again. Where that fails too, the first error is the one to
    /// report.</summary>
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
    /// Refuses to change bitmaps behind the back of a session that keeps them in memory, and the disk's size or content behind
    /// that of what it records. For who is inside.
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
