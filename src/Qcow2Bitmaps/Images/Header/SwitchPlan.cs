using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>Crash-safe writes to the first cluster, in stages.</summary>
/// <remarks>Each stage is followed by a flush. A stage writes bytes that no reader uses, or a single sector. So the image has its old or
/// its new state, however many stages were written. Immutable.</remarks>
/// <param name="Stages">The stages, in their order.</param>
internal sealed record SwitchPlan(IReadOnlyList<IReadOnlyList<SectorWrite>> Stages)
{
    /// <summary>A plan that changes one sector atomically.</summary>
    /// <param name="writes">One write, or none.</param>
    public static SwitchPlan InOneSector(List<SectorWrite> writes) => new(writes.Count == 0 ? [] : [writes]);

    /// <summary>Whether nothing changes.</summary>
    public bool IsEmpty => Stages.Count == 0;

    /// <summary>Writes the stages.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="done">How many stages are already written.</param>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public ValueTask ApplyAsync(ImageStorage storage, int done = 0) => WriteAsync(storage, Stages.Skip(done), static write => write.After);

    /// <summary>Restores the old bytes, in reverse through the states of the stages.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="begun">How many stages were written, the last one perhaps partly. Only these are reverted: the old bytes of a later
    /// stage may be the new bytes of an earlier one, and restoring them would give a state that is neither old nor new.</param>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public ValueTask RevertAsync(ImageStorage storage, int begun) =>
        WriteAsync(storage, Stages.Take(begun).Reverse(), static write => write.Before);

    /// <summary>Writes the stages, or restores the old bytes if that fails.</summary>
    /// <exception cref="UnknownOutcomeException">The storage failed permanently: the image has its old or its new state.</exception>
    /// <exception cref="IOException">The storage failed; the image is unchanged.</exception>
    public async ValueTask ApplyOrRevertAsync(ImageStorage storage)
    {
        int begun = 0;
        try
        {
            foreach (IReadOnlyList<SectorWrite> stage in Stages)
            {
                begun++;
                await WriteAsync(storage, [stage], static write => write.After).ConfigureAwait(false);
            }
        }
        catch (Exception e)
        {
            try
            {
                await RevertAsync(storage, begun).ConfigureAwait(false);
            }
            catch (Exception)
            {
                throw new UnknownOutcomeException(
                    $"'{storage.Name}': {e}, while the header was written; so did writing it back: the image is as before "
                    + $"or as after the change, and what was prepared for it may be leaked",
                    e);
            }

            throw;
        }
    }

    /// <summary>The first cluster after all stages.</summary>
    public byte[] After(ReadOnlyMemory<byte> firstCluster)
    {
        byte[] after = firstCluster.ToArray();
        foreach (SectorWrite write in Stages.SelectMany(static stage => stage).Where(static write => !write.After.IsEmpty))
        {
            write.After.CopyTo(after.AsMemory(write.Offset));
        }

        return after;
    }

    /// <summary>How far an image has been switched.</summary>
    /// <param name="firstCluster">The current first cluster.</param>
    /// <returns>The number of completely written stages; null if the image is in none of the states of the stages.</returns>
    public int? CountDone(ReadOnlySpan<byte> firstCluster)
    {
        // Later stages may change bytes of earlier ones: search from the end.
        for (int done = Stages.Count; done >= 0; done--)
        {
            if (IsAfter(done, firstCluster))
            {
                return done;
            }
        }

        return null;
    }

    private static async ValueTask WriteAsync(
        ImageStorage storage, IEnumerable<IReadOnlyList<SectorWrite>> stages, Func<SectorWrite, ReadOnlyMemory<byte>> bytesOf)
    {
        foreach (IReadOnlyList<SectorWrite> stage in stages)
        {
            foreach (SectorWrite write in stage)
            {
                await storage.WriteAsync(write.Offset, bytesOf(write), CancellationToken.None).ConfigureAwait(false);
            }

            await storage.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    private bool IsAfter(int done, ReadOnlySpan<byte> firstCluster)
    {
        var expected = new Dictionary<int, byte>();
        foreach (SectorWrite write in Stages.Reverse().SelectMany(static stage => stage))
        {
            Put(expected, write.Offset, write.Before.Span);
        }

        foreach (SectorWrite write in Stages.Take(done).SelectMany(static stage => stage))
        {
            Put(expected, write.Offset, write.After.Span);
        }

        foreach (SectorWrite write in done < Stages.Count ? Stages[done] : [])
        {
            // The next stage may have been begun: each of its writes is there or not.
            if (write.Offset + write.After.Length <= firstCluster.Length
                && firstCluster.Slice(write.Offset, write.After.Length).SequenceEqual(write.After.Span))
            {
                Put(expected, write.Offset, write.After.Span);
            }
        }

        foreach ((int offset, byte value) in expected)
        {
            if (offset >= firstCluster.Length || firstCluster[offset] != value)
            {
                return false;
            }
        }

        return true;
    }

    private static void Put(Dictionary<int, byte> bytes, int offset, ReadOnlySpan<byte> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            bytes[offset + i] = values[i];
        }
    }
}
