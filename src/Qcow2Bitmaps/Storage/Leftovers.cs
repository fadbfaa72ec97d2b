using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>What a completed operation could not clean up: space that was not freed, a file that was not removed.</summary>
/// <remarks>
/// An edit, a resize or a snapshot either throws and has changed nothing, or takes effect and returns. (A commit, pull, rebase or populate
/// that throws may have done a part of its work: run it again.) A failure to clean up afterwards is no error: it is
/// reported to the callback that the caller, or one of its callers, registered with <see cref="TellTo"/>. Without a callback it is not
/// reported; a check finds what is left in an image.
/// </remarks>
public static class Leftovers
{
    private static readonly AsyncLocal<Action<string>?> s_tell = new();

    /// <summary>Registers a callback for leftovers of this call and the calls that it makes.</summary>
    /// <param name="tell">Receives one line for each leftover, from any thread: what is left, why, and what can be done about it.</param>
    /// <returns>Unregisters the callback when disposed.</returns>
    public static IDisposable TellTo(Action<string> tell)
    {
        ArgumentNullException.ThrowIfNull(tell);
        Action<string>? outer = s_tell.Value;
        s_tell.Value = tell;
        return new Scope(outer);
    }

    /// <summary>Cleans up after an operation took effect. Whatever a storage throws is told: the operation did not fail.</summary>
    /// <param name="left">What is left if that fails, and what to do about it.</param>
    /// <param name="tidy">The cleanup.</param>
    /// <returns>Whether it was done.</returns>
    internal static async ValueTask<bool> TidyAsync(string left, Func<ValueTask> tidy)
    {
        ArgumentNullException.ThrowIfNull(tidy);
        try
        {
            await tidy().ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            Tell(left, e);
            return false;
        }
    }

    /// <inheritdoc cref="TidyAsync"/>
    internal static bool Tidy(string left, Action tidy)
    {
        ArgumentNullException.ThrowIfNull(tidy);
        try
        {
            tidy();
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            Tell(left, e);
            return false;
        }
    }

    /// <summary>Tells what is left behind on purpose.</summary>
    internal static void Tell(PrintableMessage left) => s_tell.Value?.Invoke(left);

    private static void Tell(string left, Exception why) => s_tell.Value?.Invoke(PrintableMessage.Of($"{left}: {why}"));

    private sealed class Scope(Action<string>? outer) : IDisposable
    {
        public void Dispose() => s_tell.Value = outer;
    }
}
