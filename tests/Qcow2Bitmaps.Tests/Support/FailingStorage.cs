using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A storage that fails at a chosen moment, as a full or a broken disk does.</summary>
internal sealed class FailingStorage(ImageStorage inner) : ImageStorage
{
    private const int NoSpaceLeft = 28;

    private readonly long _firstLength = inner.Length;
    private bool _hasFailed;

    /// <summary>The write that finds no space, from 1; 0 for none.</summary>
    public int FailingWrite { get; set; }

    /// <summary>The write or change of length that would extend the file and finds no space, from 1; 0 for none.</summary>
    public int FailingGrowth { get; init; }

    /// <summary>By how many bytes the file may grow; null for any.</summary>
    public long? GrowthBudgetBytes { get; init; }

    /// <summary>The flush that fails, from 1; 0 for none.</summary>
    public int FailingFlush { get; init; }

    /// <summary>Whether discards fail.</summary>
    public bool FailsDiscards { get; init; }

    /// <summary>Makes the error of a failing discard.</summary>
    public Func<Exception> DiscardError { get; init; } = InputOutput;

    /// <summary>How many bytes of a failing write are written before it fails, at most: up to the end of a sector.</summary>
    public int TornBytes { get; init; }

    /// <summary>Whether, once one of them has failed, all further writes fail: the disk is gone. Else only that one fails.</summary>
    public bool IsGoneAfterwards { get; init; }

    /// <summary>Makes the error of a failing write, where that is another one than a full disk's.</summary>
    public Func<Exception> WriteError { get; init; } = NoSpace;

    /// <summary>Whether the storage fails no more.</summary>
    public bool IsMended { get; set; }

    /// <summary>Whether something has failed.</summary>
    public bool HasFailed => _hasFailed;

    public int Writes { get; private set; }

    public int Growths { get; private set; }

    public int Flushes { get; private set; }

    public override string Name => inner.Name;

    public override long Length => inner.Length;

    public override bool CanWrite => inner.CanWrite;

    public override long? CapacityBytes => inner.CapacityBytes;

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.ReadAsync(offset, buffer, cancellationToken);

    public override async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Writes++;
        if (IsRefused(Writes == FailingWrite, offset + buffer.Length))
        {
            long tornEnd = (offset + Math.Min(TornBytes, buffer.Length)) / 512 * 512;
            if (tornEnd > offset)
            {
                await inner.WriteAsync(offset, buffer[..(int)(tornEnd - offset)], cancellationToken);
            }

            throw WriteError();
        }

        await inner.WriteAsync(offset, buffer, cancellationToken);
    }

    public override async ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        Flushes++;
        if (!IsMended && (Flushes == FailingFlush || (_hasFailed && IsGoneAfterwards)))
        {
            _hasFailed = true;
            throw InputOutput();
        }

        await inner.FlushAsync(cancellationToken);
    }

    public override async ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        if (IsRefused(false, length))
        {
            throw NoSpace();
        }

        await inner.SetLengthAsync(length, cancellationToken);
    }

    public override async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        if (FailsDiscards && !IsMended)
        {
            _hasFailed = true;
            throw DiscardError();
        }

        await inner.DiscardAsync(offset, length, cancellationToken);
    }

    public override ValueTask DisposeAsync() => inner.DisposeAsync();

    private bool IsRefused(bool isChosen, long end)
    {
        bool extends = end > inner.Length;
        if (extends)
        {
            Growths++;
        }

        bool isRefused = !IsMended
            && (isChosen
                || (_hasFailed && IsGoneAfterwards)
                || (extends && (Growths == FailingGrowth || end - _firstLength > GrowthBudgetBytes)));
        _hasFailed |= isRefused;
        return isRefused;
    }

    private static IOException InputOutput() => new("Input/output error", 5);

    private static IOException NoSpace() => new("No space left on device", NoSpaceLeft);
}
