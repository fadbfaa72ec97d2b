using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>What an operation that has happened could not tidy up: space that is not given back, a file that is not removed.</summary>
/// <remarks>
/// An operation either has not happened, and throws, or has happened, and returns. What fails in between is no error then: it is told
/// here, to whoever asked for it (<see cref="TellTo"/>) in the call, or in one that it was made from. Where nobody asked it is not
/// told; a check finds what is left in an image.
/// </remarks>
public static class Leftovers
{
    private static readonly AsyncLocal<Action<string>?> s_tell = new();

    /// <summary>From here on, in this call and those that it makes, tells what is left behind.</summary>
    /// <param name="tell">Takes one line for each, from any thread: what is left, why, and what can be done about it.</param>
    /// <returns>Ends that when it is disposed.</returns>
    public static IDisposable TellTo(Action<string> tell)
    {
        ArgumentNullException.ThrowIfNull(tell);
        Action<string>? outer = s_tell.Value;
        s_tell.Value = tell;
        return new Scope(outer);
    }

    /// <summary>Tidies up after what has happened.</summary>
    /// <param name="left">What is left if that fails, and what to do about it.</param>
    /// <param name="tidy">What is to be done.</param>
    /// <returns>Whether it was done.</returns>
    public static async ValueTask<bool> TidyAsync(string left, Func<ValueTask> tidy)
    {
        ArgumentNullException.ThrowIfNull(tidy);
        try
        {
            await tidy().ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Tell(left, e);
            return false;
        }
    }

    /// <inheritdoc cref="TidyAsync"/>
    public static bool Tidy(string left, Action tidy)
    {
        ArgumentNullException.ThrowIfNull(tidy);
        try
        {
            tidy();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
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
