using System.Diagnostics;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>The job's own work, from its start to its end.</summary>
public sealed partial class BackupJob
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    private async Task RunAsync()
    {
        try
        {
            if (_sync == BackupSync.None)
            {
                await Task.Delay(Timeout.Infinite, _stopped).ConfigureAwait(false);
            }

            await CopyAllAsync().ConfigureAwait(false);
            await _pause.WaitAsync(_stopped).ConfigureAwait(false);
            _hasBegunToFlush = true;
            await _options.Target.FlushAsync(_stopped).ConfigureAwait(false);
            // No write has data left to copy to the target.
            _isTargetDurable = true;
            await CompleteAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await FailAsync(e).ConfigureAwait(false);
            await KeepCopiedAsync().ConfigureAwait(false);
        }

        BackupJobState state = BackupJobState.Failed;
        try
        {
            await _session.FinishAsync(
                this,
                _bitmap,
                _mode,
                () =>
                {
                    lock (_gate)
                    {
                        state = _error is null ? BackupJobState.Completed
                            : _isCancelled && _error is OperationCanceledException ? BackupJobState.Cancelled
                            : BackupJobState.Failed;
                        return state == BackupJobState.Completed;
                    }
                },
                _copier.Remaining).ConfigureAwait(false);
        }
        catch (IOException) when (state != BackupJobState.Completed)
        {
            // The image could not be marked; the next write, checkpoint or close retries. The error that made the job fail is reported.
        }
        finally
        {
            await _copier.ForgetAsync().ConfigureAwait(false);
            _session.LeaveTarget(_options);
            _ended.SetResult(state);
        }
    }

    private async ValueTask CompleteAsync()
    {
        try
        {
            if (_options.BeforeCompletion is { } run)
            {
                await run(_stopped).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // The target could not be closed: what it has is unknown.
            _isTargetDurable = false;
            throw;
        }
    }

    /// <summary>
    /// If the bitmap will forget what a failed or cancelled job has copied, makes that data durable. Data that cannot be made
    /// durable count as not copied.
    /// </summary>
    private async ValueTask KeepCopiedAsync()
    {
        if (_bitmap is null || _mode != BitmapSyncMode.Always || _isTargetDurable)
        {
            return;
        }

        await _copier.SettleAsync().ConfigureAwait(false);
        // A file's error is reported only once: after a failed flush, another one would succeed.
        bool isKept = !_hasBegunToFlush;
        if (isKept)
        {
            try
            {
                await _options.Target.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                isKept = false;
                await FailAsync(e).ConfigureAwait(false);
            }
        }

        if (!isKept)
        {
            _copier.TakeBack(_sync == BackupSync.Bitmap ? _bitmap.Bits : null);
        }
    }

    private async Task CopyAllAsync()
    {
        var clock = Stopwatch.StartNew();
        for (long at = 0; _copier.Next(at) is { } next;)
        {
            if (_pause.IsPaused)
            {
                // A concurrent write may copy this part.
                await _pause.WaitAsync(_stopped).ConfigureAwait(false);
                continue;
            }

            at = await _copier.CopyZerosAsync(next.Start).ConfigureAwait(false);
            if (at == next.Start)
            {
                await _copier.CopyAsync(next.Start, next.End - next.Start, _stopped).ConfigureAwait(false);
                at = next.End;
            }

            // The speed limit may change during the wait.
            while (BytesPerSecond is > 0 and long speed && clock.Elapsed.TotalSeconds < (double)(at - next.Start) / speed)
            {
                await Task.Delay(s_pause, _stopped).ConfigureAwait(false);
            }

            clock.Restart();
        }
    }

    private async ValueTask FailAsync(Exception e)
    {
        lock (_gate)
        {
            _error ??= e;
        }

        await _stop.CancelAsync().ConfigureAwait(false);
    }
}
